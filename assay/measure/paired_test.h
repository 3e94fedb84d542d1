#pragma once
// Student's t test of paired differences: one number a pair, its mean against zero.
#include <cstddef>
#include <optional>
#include <span>

#include "assay/measure/statistics.h"

namespace assay {

struct PairedTest {
  std::size_t pairs = 0;
  double mean = 0;
  double deviation = 0;       // sample standard deviation, pairs - 1 degrees of freedom
  double standard_error = 0;  // deviation / sqrt(pairs)
  /// None when all differences are equal: there is nothing to divide by.
  std::optional<double> t;
  std::optional<double> p_below;  // one-tailed: of a mean this far below zero when there is no difference
  std::optional<double> p_two_sided;

  double degrees_of_freedom() const { return static_cast<double>(pairs) - 1; }
  Interval interval(double confidence) const;
  /// The difference that a one-sided test at 5 % would find with the given power, were it there.
  double detectable(double power = 0.8) const;
};

/// Needs two pairs.
PairedTest paired_test(std::span<const double> differences);

/// Student t: the share of the distribution below `t`.
double student_probability(double t, double degrees_of_freedom);

}  // namespace assay
