#pragma once
// OCP 8-bit floats of 1 sign, 4 exponent and 3 mantissa bits, bias 7, without infinities ("fn"): only 0x7F
// and 0xFF are not finite.
#include <array>
#include <bit>
#include <cstddef>
#include <limits>

namespace assay {

inline float e4m3_to_f32(unsigned byte) {
  if ((byte & 0x7Fu) == 0x7Fu) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = std::bit_cast<float>((byte & 0x7Fu) << 20) * 0x1p120f;
  return (byte & 0x80u) != 0 ? -magnitude : magnitude;
}

/// The value of every byte.
inline const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (unsigned i = 0; i < values.size(); ++i) values[i] = e4m3_to_f32(i);
    return values;
  }();
  return table;
}

}  // namespace assay
