#pragma once
// GF16: 1 sign, 6 exponent, 9 mantissa bits, bias 31, hidden one, IEEE semantics (also IBM DLFloat's 1/6/9
// split). Several incompatible formats share the name; this is the documented layout and no other.
#include <bit>
#include <cstdint>

#include "assay/formats/format.h"

namespace assay {

constexpr std::uint16_t kGf16Infinity = 0x7E00;
constexpr float kGf16Largest = 4290772992.0f;  // (2 - 2^-9) * 2^31

inline float gf16_to_f32(std::uint16_t code) {
  // The fields shifted into place are too small by 2^(127 - 31); one exact multiplication also mends
  // subnormals.
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x8000u) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(code & 0x7FFFu) << 14;
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p96f;
  const bool special = (code & 0x7FFFu) >= kGf16Infinity;
  const std::uint32_t bits = special ? magnitude | 0x7F800000u : std::bit_cast<std::uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

/// Arithmetic conversion: nearest, ties to even; overflow is infinity, NaN stays NaN.
inline std::uint16_t f32_to_gf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  // Below 2^-30: adding 2^-16 aligns the mantissa so that the hardware rounds at 2^-39.
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0x1p-16f) -
                                  std::bit_cast<std::uint32_t>(0x1p-16f);
  const std::uint32_t normal = (magnitude - (96u << 23) + 0x1FFFu + ((magnitude >> 14) & 1u)) >> 14;
  const std::uint32_t finite = magnitude < (97u << 23) ? subnormal : normal;
  const std::uint32_t special = magnitude > 0x7F800000u ? 0x7F00u : kGf16Infinity;
  const bool overflow =
      magnitude >= 0x4F800000u || finite >= kGf16Infinity;  // 2^32 and beyond, or a carry to it
  return static_cast<std::uint16_t>((overflow ? special : finite) | sign);
}

/// Conversion of weights: finite values beyond the largest saturate.
inline std::uint16_t weight_to_gf16(float value) {
  const std::uint16_t code = f32_to_gf16(value);
  return (code & 0x7FFFu) == kGf16Infinity ? static_cast<std::uint16_t>(code - 1) : code;
}

FormatPtr gf16_format();

}  // namespace assay
