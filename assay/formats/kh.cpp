#include "assay/formats/kh.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "assay/base/error.h"
#include "assay/formats/affine_format.h"
#include "assay/formats/finite.h"
#include "assay/formats/kh_codes.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/statistics.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

constexpr std::size_t kRun = kh::kRun;

struct Fit {
  float scale, bias;  // as fitted, not yet as stored: the published rules choose codes with these
};

// Absent slots of a short block hold 0.0: encoded like the others, but no part of the fit.
inline const float* padded_block(const float* block, std::size_t real, float (&padding)[kRun]) {
  if (real == kRun) return block;
  std::fill(std::copy_n(block, real, padding), padding + kRun, 0.0f);
  return padding;
}

ASSAY_LOOP void fit_asymmetric_loop(float levels, const float* weights, std::size_t n, Fit* fits,
                                    Code* codes) {
  float padding[kRun];
  for (std::size_t start = 0; start < n; start += kRun, ++fits, codes += kRun) {
    const std::size_t real = std::min(kRun, n - start);
    Extent extent = real == kRun ? extent_of(weights + start, kRun) : extent_of(weights + start, real);
    if (extent.low == 0.0f) extent.low = positive_zero_if_any(weights + start, real);
    const float scale = kh::usable_scale((extent.high - extent.low) / levels);
    const float inverse = 1.0f / scale;
    const float* block = padded_block(weights + start, real, padding);
    *fits = {scale, extent.low};
    for (std::size_t i = 0; i < kRun; ++i)
      codes[i] = round_half_away(clamp((block[i] - extent.low) * inverse, 0.0f, levels));
  }
}
constexpr Multiversion<fit_asymmetric_loop> fit_asymmetric;

// Zero is the middle code; the largest magnitude is `reach` steps away from it.
ASSAY_LOOP void fit_symmetric_loop(float levels, float reach, const float* weights, std::size_t n, Fit* fits,
                                   Code* codes) {
  float padding[kRun];
  const float middle = (levels + 1.0f) / 2.0f;
  for (std::size_t start = 0; start < n; start += kRun, ++fits, codes += kRun) {
    const std::size_t real = std::min(kRun, n - start);
    const float* block = padded_block(weights + start, real, padding);
    const float scale = kh::usable_scale(largest_magnitude(block, kRun) / reach);
    const float inverse = 1.0f / scale;
    *fits = {scale, -middle * scale};
    for (std::size_t i = 0; i < kRun; ++i)
      codes[i] =
          round_half_away(clamp(block[i] * inverse, -middle, levels - middle)) + static_cast<Code>(middle);
  }
}
constexpr Multiversion<fit_symmetric_loop> fit_symmetric;

struct Traits {
  std::string name, summary;
  Code levels;      // largest code
  float reach = 0;  // symmetric: steps from zero to the largest magnitude; 0 = asymmetric
  std::size_t code_bytes;
  void (*pack)(const Code*, std::byte*);
  void (*unpack)(const std::byte*, Code*);
};

AffineView view_of(const Traits& traits) {
  AffineView view;
  view.free_bias = traits.reach == 0.0f;
  view.codes = traits.levels + 1;
  view.bias_per_scale = view.free_bias ? 0.0f : -0.5f * static_cast<float>(view.codes);
  return view;
}

class KhFormat final : public AffineFormat {
 public:
  explicit KhFormat(Traits traits)
      : AffineFormat(view_of(traits), {.stored_bias = true, .positive_scale = true}),
        traits_(std::move(traits)) {}

  std::string name() const override { return traits_.name; }
  std::string summary() const override { return traits_.summary; }
  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_flat, kRun, true, 1, {{"weight", DType::U8, block_bytes()}}};
  }

  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override {
    assert(codes.size() == params.size() * kRun);
    demand_finite(weights);
    const float levels = static_cast<float>(traits_.levels);
    constexpr std::size_t kBatch = 64;
    std::array<Fit, kBatch> fits;
    for (std::size_t unit = 0; unit < params.size(); unit += kBatch) {
      const std::size_t first = unit * kRun;
      const std::size_t n = std::min(weights.size() - first, kBatch * kRun);
      if (traits_.reach == 0.0f)
        fit_asymmetric(levels, weights.data() + first, n, fits.data(), codes.data() + first);
      else
        fit_symmetric(levels, traits_.reach, weights.data() + first, n, fits.data(), codes.data() + first);
      const std::size_t batch = std::min(params.size() - unit, kBatch);
      for (std::size_t i = 0; i < batch; ++i) {
        const std::size_t element = first + i * kRun;
        params[unit + i] = {stored("scale", fits[i].scale, element), stored("bias", fits[i].bias, element)};
      }
    }
  }

  void pack(std::span<const Params> params, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * block_bytes());
    std::byte* at = planes[0].data();
    const Code* code = codes.data();
    for (const Params& unit : params) {
      assay::store(at, f32_to_f16(unit.scale));
      assay::store(at + 2, f32_to_f16(unit.bias));
      traits_.pack(code, at + 4);
      at += block_bytes();
      code += kRun;
    }
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * block_bytes());
    const std::byte* at = planes[0].data();
    Code* code = codes.data();
    for (Params& unit : params) {
      unit = {f16_to_f32(load<std::uint16_t>(at)), f16_to_f32(load<std::uint16_t>(at + 2))};
      traits_.unpack(at + 4, code);
      at += block_bytes();
      code += kRun;
    }
  }

 private:
  std::size_t block_bytes() const { return 4 + traits_.code_bytes; }
  Traits traits_;
};

class Khq4V1Format final : public AffineFormat {
 public:
  Khq4V1Format() : AffineFormat({.codes = 16, .zero = 8}, {.positive_scale = true}) {}

  std::string name() const override { return "khq4-v1"; }
  std::string summary() const override {
    return "4-bit blocks of 32, f16 scale, 4.5 bits; lattice .q4 of May 2026, read only";
  }
  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_flat, kRun, true, 1, {{"weight", DType::U8, kBlockBytes}}};
  }
  bool can_encode() const override { return false; }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * kBlockBytes);
    for (std::size_t i = 0; i < params.size(); ++i) {
      const std::byte* at = planes[0].data() + i * kBlockBytes;
      params[i] = {f16_to_f32(load<std::uint16_t>(at)), 0.0f};
      kh::unpack_nibbles(at + 2, codes.data() + i * kRun);
    }
  }

 private:
  static constexpr std::size_t kBlockBytes = 18;
};

FormatPtr kh_format(Traits traits) {
  return std::make_shared<KhFormat>(std::move(traits));
}

}  // namespace

FormatPtr khq4_format() {
  return kh_format({"khq4", "4-bit blocks of 32, f16 scale and bias, 5 bits; lattice .q4", 15, 0, 16,
                    kh::pack_nibbles, kh::unpack_nibbles});
}
FormatPtr khq4_symmetric_format() {
  return kh_format({"khq4-sym", "khq4 with bias -8 * scale, for rotated models, 5 bits; lattice .q4", 15, 7,
                    16, kh::pack_nibbles, kh::unpack_nibbles});
}
FormatPtr khw3_format() {
  return kh_format({"khw3", "3-bit blocks of 32, f16 scale and bias, 4 bits; lattice .w3", 7, 0, 12,
                    kh::pack_stream3, kh::unpack_stream3});
}
FormatPtr khq3_format() {
  return kh_format({"khq3", "khw3 with the codes in two bit planes, 4 bits; lattice .q3", 7, 0, 12,
                    kh::pack_planes3, kh::unpack_planes3});
}
FormatPtr khq3_symmetric_format() {
  return kh_format({"khq3-sym", "khq3 with bias -4 * scale, for rotated models, 4 bits; lattice .q3", 7, 3.5f,
                    12, kh::pack_planes3, kh::unpack_planes3});
}
FormatPtr khq4_v1_format() {
  return std::make_shared<Khq4V1Format>();
}

}  // namespace assay
