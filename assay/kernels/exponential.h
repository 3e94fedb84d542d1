#pragma once
// exp written out so that compilers vectorise it: exp(x) = 2^n exp(r), |r| <= ln(2)/2, exp(r) by Taylor's
// series. Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits.
#include <bit>
#include <cstdint>

namespace assay {

/// Within 2 units in the last place on [-87, 88]; the ends' values beyond.
inline float exp_inline(float x) {
  constexpr float kRound = 12582912.0f;
  constexpr float kLn2High = 0.693145751953125f, kLn2Low = 1.42860677e-6f;  // the high part times n is exact
  const float clamped = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float shifted = clamped * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  // To r^7: the next term is below 1e-8 of the result.
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const auto exponent = (std::bit_cast<std::uint32_t>(shifted) + 127u) << 23;
  return p * std::bit_cast<float>(exponent);
}

/// Within a few units in the last place on [-708, 709]; the ends' values beyond (e^-708 is 3e-308).
inline double exp_inline(double x) {
  constexpr double kRound = 6755399441055744.0;
  constexpr double kLn2High = 0x1.62e42fee00000p-1, kLn2Low = 0x1.a39ef35793c76p-33;
  const double clamped = x < -708.0 ? -708.0 : (x > 709.0 ? 709.0 : x);
  const double shifted = clamped * 1.4426950408889634 + kRound;
  const double n = shifted - kRound;
  const double r = (clamped - n * kLn2High) - n * kLn2Low;
  // To r^13: the next term is below 5e-18 of the result.
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const auto exponent = (std::bit_cast<std::uint64_t>(shifted) + 1023u) << 52;
  return p * std::bit_cast<double>(exponent);
}

}  // namespace assay
