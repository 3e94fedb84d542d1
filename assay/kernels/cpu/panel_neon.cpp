// Of every 64-bit ARM CPU: Advanced SIMD alone.
#include "assay/kernels/cpu/panel.h"

#if defined(__aarch64__)

#include <arm_neon.h>

namespace assay::cpu {
namespace {

#define INLINE [[gnu::always_inline]] inline

/// 16 lanes as four registers of 4.
struct Lanes {
  static constexpr int kRegisters = 4, kInRegister = 4;
  struct F {
    float32x4_t of[kRegisters];
  };
  struct I {
    uint32x4_t of[kRegisters];
  };

  template <class Value, class Make>
  INLINE static Value each(const Make& make) {
    return {{make(0), make(1), make(2), make(3)}};
  }

  INLINE static F zero() { return all(0); }
  INLINE static F all(float value) {
    return each<F>([&](int) { return vdupq_n_f32(value); });
  }
  INLINE static F load(const float* at) {
    return each<F>([&](int i) { return vld1q_f32(at + i * kInRegister); });
  }
  INLINE static void store(float* at, F a) {
    for (int i = 0; i < kRegisters; ++i) vst1q_f32(at + i * kInRegister, a.of[i]);
  }
  INLINE static F broadcast(const float* at) { return all(*at); }
  INLINE static F add(F a, F b) {
    return each<F>([&](int i) { return vaddq_f32(a.of[i], b.of[i]); });
  }
  INLINE static F multiply(F a, F b) {
    return each<F>([&](int i) { return vmulq_f32(a.of[i], b.of[i]); });
  }
  INLINE static F fma(F a, F b, F c) {
    return each<F>([&](int i) { return vfmaq_f32(c.of[i], a.of[i], b.of[i]); });
  }
  INLINE static F negated_fma(F a, F b, F c) {
    return each<F>([&](int i) { return vfmsq_f32(c.of[i], a.of[i], b.of[i]); });
  }
  INLINE static I words(const std::byte* at) {
    return each<I>([&](int i) {
      return vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(at) + i * 16));
    });
  }
  INLINE static I no_words() {
    return each<I>([](int) { return vdupq_n_u32(0); });
  }
  INLINE static I masked(I a, std::uint32_t mask) {
    return each<I>([&](int i) { return vandq_u32(a.of[i], vdupq_n_u32(mask)); });
  }
  INLINE static I down(I a, int bits) {
    return each<I>([&](int i) { return vshlq_u32(a.of[i], vdupq_n_s32(-bits)); });
  }
  INLINE static I up(I a, int bits) {
    return each<I>([&](int i) { return vshlq_u32(a.of[i], vdupq_n_s32(bits)); });
  }
  INLINE static I halves_down(I a, int bits) {
    return each<I>([&](int i) {
      return vreinterpretq_u32_u16(
          vshlq_u16(vreinterpretq_u16_u32(a.of[i]), vdupq_n_s16(static_cast<std::int16_t>(-bits))));
    });
  }
  INLINE static I either(I a, I b) {
    return each<I>([&](int i) { return vorrq_u32(a.of[i], b.of[i]); });
  }
  INLINE static I steps(const std::int16_t* at) {
    std::uint32_t pair = 0;
    __builtin_memcpy(&pair, at, sizeof pair);
    return each<I>([&](int) { return vdupq_n_u32(pair); });
  }
  INLINE static I add_products(I sums, I codes, I steps) {
    return each<I>([&](int i) {
      const int16x8_t code = vreinterpretq_s16_u32(codes.of[i]), step = vreinterpretq_s16_u32(steps.of[i]);
      const int32x4_t products =
          vpaddq_s32(vmull_s16(vget_low_s16(code), vget_low_s16(step)), vmull_high_s16(code, step));
      return vaddq_u32(sums.of[i], vreinterpretq_u32_s32(products));
    });
  }
  INLINE static I quad(const std::int8_t* at) {
    std::uint32_t four = 0;
    __builtin_memcpy(&four, at, sizeof four);
    return each<I>([&](int) { return vdupq_n_u32(four); });
  }
  INLINE static I add_quads(I sums, I codes, I quad) {
    return each<I>([&](int i) {
      const int8x16_t code = vreinterpretq_s8_u32(codes.of[i]), x = vreinterpretq_s8_u32(quad.of[i]);
      const int16x8_t products =
          vpaddq_s16(vmull_s8(vget_low_s8(code), vget_low_s8(x)), vmull_high_s8(code, x));
      return vreinterpretq_u32_s16(vaddq_s16(vreinterpretq_s16_u32(sums.of[i]), products));
    });
  }
  INLINE static F converted_quads(I sums) {
    return each<F>([&](int i) { return vcvtq_f32_s32(vpaddlq_s16(vreinterpretq_s16_u32(sums.of[i]))); });
  }
  INLINE static I looked_up(I bytes, const std::uint8_t* table) {
    const uint8x16_t all = vld1q_u8(table);
    return each<I>(
        [&](int i) { return vreinterpretq_u32_u8(vqtbl1q_u8(all, vreinterpretq_u8_u32(bytes.of[i]))); });
  }
  INLINE static F converted(I a) {
    return each<F>([&](int i) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a.of[i])); });
  }
  INLINE static F parameters(const std::byte* at, PanelFloat type) {
    if (type == PanelFloat::f32) return load(reinterpret_cast<const float*>(at));
    return each<F>([&](int i) {
      const uint16x4_t halves = vld1_u16(reinterpret_cast<const std::uint16_t*>(at) + i * kInRegister);
      if (type == PanelFloat::f16) return vcvt_f32_f16(vreinterpret_f16_u16(halves));
      const uint32x4_t words = vmovl_u16(halves);
      if (type == PanelFloat::bf16) return vreinterpretq_f32_u32(vshlq_n_u32(words, 16));
      // GF16: 1 + 6 + 9 bits; the exponent's other bias is a factor, which mends subnormals as well.
      const uint32x4_t magnitude = vshlq_n_u32(vandq_u32(words, vdupq_n_u32(0x7FFF)), 14);
      const uint32x4_t sign = vshlq_n_u32(vandq_u32(words, vdupq_n_u32(0x8000)), 16);
      const float32x4_t scaled = vmulq_n_f32(vreinterpretq_f32_u32(magnitude), 0x1p96f);
      return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), sign));
    });
  }
  INLINE static F signed_bytes(const std::byte* at) {
    const int8x16_t bytes = vld1q_s8(reinterpret_cast<const std::int8_t*>(at));
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
  }
  INLINE static F unsigned_bytes(const std::byte* at) {
    const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const std::uint8_t*>(at));
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_high_u8(bytes);
    return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
             vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))}};
  }
  INLINE static void prefetch(const std::byte* at) { __builtin_prefetch(at); }
};

#include "assay/kernels/cpu/panel_loops.h"
#include "assay/kernels/cpu/panel_superblock_loops.h"

}  // namespace

const PanelKernels* neon_panel_kernels() {
  return &kKernels;
}

}  // namespace assay::cpu

#else

namespace assay::cpu {

const PanelKernels* neon_panel_kernels() {
  return nullptr;
}

}  // namespace assay::cpu

#endif
