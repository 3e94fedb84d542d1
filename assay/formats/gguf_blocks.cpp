#include "assay/formats/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "assay/formats/affine_format.h"
#include "assay/formats/finite.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/signed_byte.h"
#include "assay/formats/statistics.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

constexpr std::size_t kRun = 32;

// A reciprocal that is not finite counts as 0: all codes become that of zero.
inline float usable_reciprocal(float scale) {
  const float reciprocal = scale != 0.0f ? 1.0f / scale : 0.0f;
  return std::isfinite(reciprocal) ? reciprocal : 0.0f;
}

ASSAY_LOOP void fit_q8_0_loop(const float* weights, std::size_t units, Params* fits, Code* codes) {
  for (std::size_t unit = 0; unit < units; ++unit, weights += kRun, codes += kRun) {
    const float scale = largest_magnitude(weights, kRun) / 127.0f;
    const float reciprocal = usable_reciprocal(scale);
    fits[unit] = {scale, 0.0f};
    for (std::size_t i = 0; i < kRun; ++i)
      codes[i] = round_half_away(clamp(weights[i] * reciprocal, -127.0f, 127.0f));
  }
}
constexpr Multiversion<fit_q8_0_loop> fit_q8_0;

// Adding the offset and truncating is this rule's rounding; the sum is rounded to f32 first.
inline Code truncate_after(float offset, float steps) {
  return static_cast<Code>(clamp(steps + offset, 0.0f, 15.0f));
}

ASSAY_LOOP void fit_q4_0_loop(const float* weights, std::size_t units, Params* fits, Code* codes) {
  for (std::size_t unit = 0; unit < units; ++unit, weights += kRun, codes += kRun) {
    const float magnitude = largest_magnitude(weights, kRun);
    // The first element of that magnitude decides the sign; the zero block stores -0 whatever its signs.
    const float extreme = magnitude == 0.0f ? 0.0f : *std::find_if(weights, weights + kRun, [&](float w) {
      return std::fabs(w) == magnitude;
    });
    const float scale = extreme / -8.0f;
    const float reciprocal = usable_reciprocal(scale);
    fits[unit] = {scale, 0.0f};
    for (std::size_t i = 0; i < kRun; ++i) codes[i] = truncate_after(8.5f, weights[i] * reciprocal);
  }
}
constexpr Multiversion<fit_q4_0_loop> fit_q4_0;

ASSAY_LOOP void fit_q4_1_loop(const float* weights, std::size_t units, Params* fits, Code* codes) {
  for (std::size_t unit = 0; unit < units; ++unit, weights += kRun, codes += kRun) {
    Extent extent = extent_of(weights, kRun);
    if (extent.low == 0.0f) extent.low = first_zero(weights, kRun);
    const float scale = (extent.high - extent.low) / 15.0f;
    const float reciprocal = usable_reciprocal(scale);
    fits[unit] = {scale, extent.low};
    for (std::size_t i = 0; i < kRun; ++i)
      codes[i] = truncate_after(0.5f, (weights[i] - extent.low) * reciprocal);
  }
}
constexpr Multiversion<fit_q4_1_loop> fit_q4_1;

void pack_bytes(const Code* codes, std::byte* bytes) {
  for (std::size_t i = 0; i < kRun; ++i) bytes[i] = static_cast<std::byte>(codes[i]);
}

void unpack_bytes(const std::byte* bytes, Code* codes) {
  for (std::size_t i = 0; i < kRun; ++i) codes[i] = sign_extended(bytes[i]);
}

void pack_half_nibbles(const Code* codes, std::byte* bytes) {
  for (std::size_t i = 0; i < kRun / 2; ++i)
    bytes[i] = static_cast<std::byte>((codes[i] & 15) | (codes[i + kRun / 2] << 4));
}

void unpack_half_nibbles(const std::byte* bytes, Code* codes) {
  for (std::size_t i = 0; i < kRun / 2; ++i) {
    codes[i] = static_cast<Code>(bytes[i] & std::byte{15});
    codes[i + kRun / 2] = static_cast<Code>(bytes[i] >> 4);
  }
}

struct Traits {
  std::string name, summary;
  AffineView view;
  std::size_t code_bytes;
  void (*fit)(const float*, std::size_t, Params*, Code*);
  void (*pack)(const Code*, std::byte*);
  void (*unpack)(const std::byte*, Code*);
};

class GgufBlockFormat final : public AffineFormat {
 public:
  explicit GgufBlockFormat(Traits traits)
      : AffineFormat(traits.view, {.stored_bias = traits.view.free_bias}), traits_(std::move(traits)) {}

  std::string name() const override { return traits_.name; }
  std::string summary() const override { return traits_.summary; }
  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_in_row, kRun, true, 1, {{"weight", DType::U8, block_bytes()}}};
  }

  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override {
    assert(weights.size() == params.size() * kRun && codes.size() == weights.size());
    demand_finite(weights);
    traits_.fit(weights.data(), params.size(), params.data(), codes.data());
    for (std::size_t i = 0; i < params.size(); ++i)
      params[i] = {stored("scale", params[i].scale, i * kRun), stored("minimum", params[i].bias, i * kRun)};
  }

  void pack(std::span<const Params> params, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * block_bytes());
    std::byte* at = planes[0].data();
    for (std::size_t i = 0; i < params.size(); ++i, at += block_bytes()) {
      assay::store(at, f32_to_f16(params[i].scale));
      if (rule().stored_bias) assay::store(at + 2, f32_to_f16(params[i].bias));
      traits_.pack(codes.data() + i * kRun, at + header_bytes());
    }
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * block_bytes());
    const std::byte* at = planes[0].data();
    for (std::size_t i = 0; i < params.size(); ++i, at += block_bytes()) {
      params[i].scale = f16_to_f32(load<std::uint16_t>(at));
      params[i].bias = rule().stored_bias ? f16_to_f32(load<std::uint16_t>(at + 2)) : 0.0f;
      traits_.unpack(at + header_bytes(), codes.data() + i * kRun);
    }
  }

 private:
  std::size_t header_bytes() const { return rule().stored_bias ? 4 : 2; }
  std::size_t block_bytes() const { return header_bytes() + traits_.code_bytes; }
  Traits traits_;
};

FormatPtr gguf_format(Traits traits) {
  return std::make_shared<GgufBlockFormat>(std::move(traits));
}

}  // namespace

FormatPtr q8_0_format() {
  return gguf_format({"q8_0",
                      "8-bit blocks of 32 in a row, f16 scale, 8.5 bits; GGUF",
                      {.first_code = -127, .codes = 255},
                      32,
                      fit_q8_0,
                      pack_bytes,
                      unpack_bytes});
}
FormatPtr q4_0_format() {
  return gguf_format({"q4_0",
                      "4-bit blocks of 32 in a row, f16 scale of either sign, 4.5 bits; GGUF",
                      {.codes = 16, .zero = 8},
                      16,
                      fit_q4_0,
                      pack_half_nibbles,
                      unpack_half_nibbles});
}
FormatPtr q4_1_format() {
  return gguf_format({"q4_1",
                      "4-bit blocks of 32 in a row, f16 scale and minimum, 5 bits; GGUF",
                      {.free_bias = true, .codes = 16},
                      16,
                      fit_q4_1,
                      pack_half_nibbles,
                      unpack_half_nibbles});
}

}  // namespace assay
