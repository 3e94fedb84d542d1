#pragma once
// IEEE binary16 and bfloat16 <-> binary32, round to nearest even, subnormals kept: docs/formats.md,
// "Narrow floats". Values at or beyond 65520 become f16 infinity; callers that store scales must check.
#include <bit>
#include <cstdint>
#include <span>

namespace assay {

inline float f16_to_f32(std::uint16_t half) {
  // Shift into place, then fix the exponent with one exact multiplication: subnormals come out right.
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7FFFu;
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const std::uint32_t bits =
      magnitude >= 0x7C00u ? (magnitude << 13) | 0x7F800000u : std::bit_cast<std::uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

inline std::uint16_t f32_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  // Subnormal results: adding 0.5 aligns the mantissa so that the hardware rounds at 2^-24.
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) -
                                  std::bit_cast<std::uint32_t>(0.5f);
  const std::uint32_t normal = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  const std::uint32_t special = magnitude > 0x7F800000u ? 0x7E00u : 0x7C00u;
  // 0x477FF000 is 65520, the first value that rounds to infinity.
  const std::uint32_t result =
      magnitude >= 0x477FF000u ? special : (magnitude < 0x38800000u ? subnormal : normal);
  return static_cast<std::uint16_t>(result | sign);
}

inline float bf16_to_f32(std::uint16_t value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16);
}

inline std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
    return static_cast<std::uint16_t>((bits >> 16) | 0x40u);  // quiet NaN
  return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

/// The value after a round trip through storage.
inline float through_f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}
inline float through_bf16(float value) {
  return bf16_to_f32(f32_to_bf16(value));
}

}  // namespace assay
