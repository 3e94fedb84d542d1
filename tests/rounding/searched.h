#pragma once
// What tests of the scale search share: a search, its loss, weights and importance that are hard on it.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "assay/rounding/scale_search.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {

inline constexpr std::size_t kColumns = 256;  // whole units of every format

inline bool searchable(const Format& format) {
  return format.can_encode() && format.affine().has_value() && format.affine()->searchable;
}

struct Found : Encoded {
  SearchReport report;
};

inline Found search(const Format& format, const std::vector<float>& weights, std::size_t columns,
                    const std::vector<float>& importance = {}, const ScaleSearchOptions& options = {}) {
  Found found{room_for(format, weights.size(), columns), {}};
  search_units(format, weights, importance, found.params, found.codes, options, &found.report);
  return found;
}

/// The importance that a unit is searched with: 1 where there is none at all, a thousandth of the mean added
/// where there is some.
inline std::vector<double> effective(const std::vector<float>& importance, std::size_t n, std::size_t run) {
  std::vector<double> used(n, 1.0);
  if (importance.empty()) return used;
  for (std::size_t first = 0; first < n; first += run) {
    const std::size_t end = std::min(first + run, n);
    double sum = 0;
    bool zeros = false;
    for (std::size_t i = first; i < end; ++i) {
      sum += importance[i];
      zeros |= importance[i] == 0.0f;
    }
    const double floor = zeros ? 1e-3 * sum / static_cast<double>(end - first) : 0.0;
    for (std::size_t i = first; i < end; ++i) used[i] = sum == 0 ? 1.0 : importance[i] + floor;
  }
  return used;
}

inline double weighted_loss(const std::vector<float>& weights, const std::vector<float>& stored,
                            const std::vector<double>& importance, std::size_t first, std::size_t end) {
  double sum = 0;
  for (std::size_t i = first; i < end; ++i) {
    const double error = static_cast<double>(weights[i]) - static_cast<double>(stored[i]);
    sum += importance[i] * (error * error);
  }
  return sum;
}

inline double weighted_loss(const std::vector<float>& weights, const std::vector<float>& stored,
                            const std::vector<double>& importance) {
  return weighted_loss(weights, stored, importance, 0, weights.size());
}

inline std::vector<float> log_normal(std::size_t n, unsigned seed, float sigma) {
  std::vector<float> values = gaussian(n, seed);
  for (float& value : values) value = std::exp(sigma * value);
  return values;
}

inline std::vector<float> student_t(std::size_t n, unsigned seed, double freedom) {
  std::mt19937 generator(seed);
  std::student_t_distribution<double> distribution(freedom);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(distribution(generator));
  return values;
}

/// A row each of what breaks fits: outliers, constants, zeros, ties, offsets that dwarf the spread, tiny,
/// huge and subnormal values.
inline std::vector<std::pair<std::string, std::vector<float>>> hard_weights() {
  constexpr std::size_t n = kColumns;
  const std::vector<float> normal = gaussian(n, 1);
  const auto each = [&](const auto& value) {
    std::vector<float> weights(n);
    for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(value(i, normal[i]));
    return weights;
  };
  return {
      {"normal", normal},
      {"outliers", each([](std::size_t i, float w) { return i % 32 == 7 ? 40.0f * w : w; })},
      {"one outlier, high", each([](std::size_t i, float w) { return i % 32 == 3 ? 90.0f : w; })},
      {"constant", each([](std::size_t, float) { return 0.3f; })},
      {"negative constant", each([](std::size_t, float) { return -0.7f; })},
      {"zeros", each([](std::size_t, float) { return 0.0f; })},
      {"sparse", each([](std::size_t i, float w) { return i % 5 == 0 ? w : 0.0f; })},
      {"two values", each([](std::size_t i, float) { return i % 3 == 0 ? -0.1f : 0.7f; })},
      {"ties", seeded(3, n)},
      {"far from zero", each([](std::size_t, float w) { return 1000.0f + w; })},
      {"a hair from constant", each([](std::size_t, float w) { return -1000.0f + 5e-4f * w; })},
      {"positive", each([](std::size_t, float w) { return std::fabs(w); })},
      {"tiny", each([](std::size_t, float w) { return 1e-6f * w; })},
      {"subnormal", each([](std::size_t, float w) { return 1e-41f * w; })},
      {"huge for f16", each([](std::size_t, float w) { return 1e4f * w; })},
      {"huge", each([](std::size_t, float w) { return 1e37f * w; })},
  };
}

inline std::vector<std::pair<std::string, std::vector<float>>> hard_importance() {
  constexpr std::size_t n = kColumns;
  std::vector<float> some_zero = log_normal(n, 2, 1.0f), one_unit(n, 0.0f), extreme = log_normal(n, 3, 12.0f);
  for (std::size_t i = 0; i < n; i += 3) some_zero[i] = 0.0f;
  for (std::size_t i = 0; i < 32; ++i) one_unit[i] = 1e-30f;
  return {{"none", {}},
          {"log-normal", log_normal(n, 4, 2.0f)},
          {"some zero", some_zero},
          {"zero but for one unit of 32", one_unit},
          {"over sixty decades", extreme}};
}

}  // namespace assay::test
