#pragma once
// Extremes of a unit's real elements, in lanes so that the compiler can use vector minimum and maximum.
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace assay {

struct Extent {
  float low, high;
};

/// Smallest and largest of n >= 1 finite values. The sign of a zero is any of those present: a rule that
/// stores it says which.
inline Extent extent_of(const float* values, std::size_t n) {
  constexpr std::size_t kLanes = 16;
  float low[kLanes], high[kLanes];
  for (std::size_t lane = 0; lane < kLanes; ++lane) low[lane] = high[lane] = values[0];
  const std::size_t whole = n - n % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  for (std::size_t i = whole; i < n; ++i) {
    low[0] = values[i] < low[0] ? values[i] : low[0];
    high[0] = values[i] > high[0] ? values[i] : high[0];
  }
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane) {
      low[lane] = low[lane + half] < low[lane] ? low[lane + half] : low[lane];
      high[lane] = high[lane + half] > high[lane] ? high[lane + half] : high[lane];
    }
  return {low[0], high[0]};
}

/// Of the zeros among the values: the first one, with its sign.
inline float first_zero(const float* values, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    if (values[i] == 0.0f) return values[i];
  return 0.0f;
}

/// Of the zeros among the values: +0 when there is one, else -0. Independent of their order.
inline float positive_zero_if_any(const float* values, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    if (std::bit_cast<std::uint32_t>(values[i]) == 0) return 0.0f;
  return -0.0f;
}

/// Largest magnitude of n >= 0 finite values.
inline float largest_magnitude(const float* values, std::size_t n) {
  constexpr std::size_t kLanes = 16;
  float high[kLanes] = {};
  const std::size_t whole = n - n % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float value = std::fabs(values[i + lane]);
      high[lane] = value > high[lane] ? value : high[lane];
    }
  for (std::size_t i = whole; i < n; ++i)
    high[0] = std::fabs(values[i]) > high[0] ? std::fabs(values[i]) : high[0];
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t lane = 0; lane < half; ++lane)
      high[lane] = high[lane + half] > high[lane] ? high[lane + half] : high[lane];
  return high[0];
}

}  // namespace assay
