#pragma once
// What rounding did to a tensor: sums in f64, added in a fixed order, so that results do not depend on
// threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

namespace assay {

struct RoundingError {
  double squared_error = 0, squared_weight = 0, largest = 0;

  void add(std::span<const float> original, std::span<const float> stored) {
    for (std::size_t i = 0; i < original.size(); ++i) {
      const double error = static_cast<double>(stored[i]) - static_cast<double>(original[i]);
      squared_error += error * error;
      squared_weight += static_cast<double>(original[i]) * static_cast<double>(original[i]);
      largest = std::max(largest, std::abs(error));
    }
  }
  void add(const RoundingError& other) {
    squared_error += other.squared_error;
    squared_weight += other.squared_weight;
    largest = std::max(largest, other.largest);
  }
  /// sqrt(sum (w' - w)^2 / sum w^2); 0 for an all-zero tensor kept exactly.
  double relative_rms() const { return squared_error == 0 ? 0 : std::sqrt(squared_error / squared_weight); }
};

}  // namespace assay
