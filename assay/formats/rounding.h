#pragma once
// Rounding as the formats' rules name it (docs/formats.md, "Rounding"), written so that loops over it become
// vectors. All take values already clamped to the code range: "clamp in float, then cast".
#include <cmath>

#include "assay/formats/format.h"

namespace assay {

/// To the nearest integer, ties away from zero, for |x| < 300. Adding 0.5 would turn 0.49999997 into 1; the
/// float before it does not, and still carries every tie over.
inline Code round_half_away(float x) {
  return static_cast<Code>(x + std::copysign(0.49999997f, x));
}

/// To the nearest integer, ties to even, for |x| < 2^22: the sum has no bits left for a fraction.
inline Code round_half_even(float x) {
  constexpr float kNoFraction = 12582912.0f;  // 1.5 * 2^23
  return static_cast<Code>((x + kNoFraction) - kNoFraction);
}

/// Into [low, high]; NaN becomes low.
inline float clamp(float x, float low, float high) {
  const float raised = x > low ? x : low;
  return raised < high ? raised : high;
}

}  // namespace assay
