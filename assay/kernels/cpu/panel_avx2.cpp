// Compiled for AVX2, FMA and F16C (CMakeLists.txt): entered through the table alone, on machines that have
// them.
#include "assay/kernels/cpu/panel.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

namespace assay::cpu {
namespace {

#define INLINE [[gnu::always_inline]] inline

/// 16 lanes as two registers of 8.
struct Lanes {
  struct F {
    __m256 low, high;
  };
  struct I {
    __m256i low, high;
  };

  INLINE static F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  INLINE static F all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
  INLINE static F load(const float* at) { return {_mm256_loadu_ps(at), _mm256_loadu_ps(at + 8)}; }
  INLINE static void store(float* at, F a) {
    _mm256_storeu_ps(at, a.low);
    _mm256_storeu_ps(at + 8, a.high);
  }
  INLINE static F broadcast(const float* at) {
    const __m256 all = _mm256_broadcast_ss(at);
    return {all, all};
  }
  INLINE static F add(F a, F b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  INLINE static F multiply(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  INLINE static F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  INLINE static F negated_fma(F a, F b, F c) {
    return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
  }
  INLINE static __m256i register_at(const std::byte* at) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  INLINE static I words(const std::byte* at) { return {register_at(at), register_at(at + 32)}; }
  INLINE static I masked(I a, std::uint32_t mask) {
    const __m256i all = _mm256_set1_epi32(static_cast<int>(mask));
    return {_mm256_and_si256(a.low, all), _mm256_and_si256(a.high, all)};
  }
  INLINE static I down(I a, int bits) {
    return {_mm256_srli_epi32(a.low, bits), _mm256_srli_epi32(a.high, bits)};
  }
  INLINE static I up(I a, int bits) {
    return {_mm256_slli_epi32(a.low, bits), _mm256_slli_epi32(a.high, bits)};
  }
  INLINE static I no_words() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  INLINE static I halves_down(I a, int bits) {
    return {_mm256_srli_epi16(a.low, bits), _mm256_srli_epi16(a.high, bits)};
  }
  INLINE static I steps(const std::int16_t* at) {
    int pair = 0;
    __builtin_memcpy(&pair, at, sizeof pair);
    const __m256i all = _mm256_set1_epi32(pair);
    return {all, all};
  }
  INLINE static I add_products(I sums, I codes, I steps) {
    I added{_mm256_add_epi32(sums.low, _mm256_madd_epi16(codes.low, steps.low)),
            _mm256_add_epi32(sums.high, _mm256_madd_epi16(codes.high, steps.high))};
    // Sums stay in this order. g++ would put a block's products first and its sums last, twice what registers
    // hold: a third slower.
    asm("" : "+x"(added.low), "+x"(added.high));
    return added;
  }
  INLINE static I quad(const std::int8_t* at) {
    int four = 0;
    __builtin_memcpy(&four, at, sizeof four);
    const __m256i all = _mm256_set1_epi32(four);
    return {all, all};
  }
  INLINE static I add_quads(I sums, I codes, I quad) {
    I added{_mm256_add_epi16(sums.low, _mm256_maddubs_epi16(codes.low, quad.low)),
            _mm256_add_epi16(sums.high, _mm256_maddubs_epi16(codes.high, quad.high))};
    asm("" : "+x"(added.low), "+x"(added.high));  // as above
    return added;
  }
  INLINE static F converted_quads(I sums) {
    const __m256i ones = _mm256_set1_epi16(1);
    return converted({_mm256_madd_epi16(sums.low, ones), _mm256_madd_epi16(sums.high, ones)});
  }
  INLINE static I either(I a, I b) {
    return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
  }
  INLINE static F converted(I a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
  /// Bytes below 16 as those of a table.
  INLINE static I looked_up(I bytes, const std::uint8_t* table) {
    const __m256i all = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(all, bytes.low), _mm256_shuffle_epi8(all, bytes.high)};
  }
  /// 1 + 6 + 9 bits: the exponent's other bias is a factor, which mends subnormals as well.
  INLINE static __m256 of_gf16(__m128i halves) {
    const __m256i words = _mm256_cvtepu16_epi32(halves);
    const __m256i magnitude = _mm256_slli_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0x7FFF)), 14);
    const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0x8000)), 16);
    return _mm256_or_ps(_mm256_mul_ps(_mm256_castsi256_ps(magnitude), _mm256_set1_ps(0x1p96f)),
                        _mm256_castsi256_ps(sign));
  }
  INLINE static F parameters(const std::byte* at, PanelFloat type) {
    if (type == PanelFloat::f32) return load(reinterpret_cast<const float*>(at));
    const __m256i all = register_at(at);
    const __m128i low = _mm256_castsi256_si128(all), high = _mm256_extracti128_si256(all, 1);
    if (type == PanelFloat::f16) return {_mm256_cvtph_ps(low), _mm256_cvtph_ps(high)};
    if (type == PanelFloat::gf16) return {of_gf16(low), of_gf16(high)};
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(low), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(high), 16))};
  }
  INLINE static F signed_bytes(const std::byte* at) {
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return converted({_mm256_cvtepi8_epi32(all), _mm256_cvtepi8_epi32(_mm_srli_si128(all, 8))});
  }
  INLINE static F unsigned_bytes(const std::byte* at) {
    const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return converted({_mm256_cvtepu8_epi32(all), _mm256_cvtepu8_epi32(_mm_srli_si128(all, 8))});
  }
  INLINE static void prefetch(const std::byte* at) {
    _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
  }
};

#include "assay/kernels/cpu/panel_loops.h"
#include "assay/kernels/cpu/panel_superblock_loops.h"

}  // namespace

const PanelKernels* avx2_panel_kernels() {
  return &kKernels;
}

}  // namespace assay::cpu

#else

namespace assay::cpu {

const PanelKernels* avx2_panel_kernels() {
  return nullptr;
}

}  // namespace assay::cpu

#endif
