#include "assay/formats/superblock_fit.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "assay/formats/multiversion.h"
#include "assay/formats/statistics.h"

namespace assay {
namespace {

constexpr int kRounds = 3;  // of least squares

inline double clamp(double x, double low, double high) {
  const double raised = x > low ? x : low;
  return raised < high ? raised : high;
}

/// Half even: the sum has no bits left for a fraction.
inline double nearest_integer(double x) {
  constexpr double kNoFraction = 6755399441055744.0;  // 1.5 * 2^52
  return (x + kNoFraction) - kNoFraction;
}

/// What least squares needs to know of n weights w and their codes q.
struct Sums {
  double n = 0, q = 0, qq = 0, w = 0, qw = 0;
};

/// The codes on offer: all from lowest to highest, or those of a table.
struct Grid {
  double lowest, highest;
  std::span<const Code> levels = {};
};

constexpr std::size_t kLanes = 8;  // sums of every eighth weight: no sum crosses lanes before the end

template <class Nearest>
ASSAY_LOOP Sums sums_under(const float* weights, std::size_t n, const SubBlockFit& fit,
                           const Nearest& nearest) {
  const double steps = 1 / fit.scale, minimum = fit.minimum;
  double sum_q[kLanes]{}, sum_qq[kLanes]{}, sum_w[kLanes]{}, sum_qw[kLanes]{};
  for (std::size_t i = 0; i < n; i += kLanes)
    for (std::size_t k = 0; k < kLanes; ++k) {
      const double w = static_cast<double>(weights[i + k]), q = nearest((w + minimum) * steps);
      sum_q[k] += q;
      sum_qq[k] += q * q;
      sum_w[k] += w;
      sum_qw[k] += q * w;
    }
  Sums sums{.n = static_cast<double>(n)};
  for (std::size_t k = 0; k < kLanes; ++k) {
    sums.q += sum_q[k];
    sums.qq += sum_qq[k];
    sums.w += sum_w[k];
    sums.qw += sum_qw[k];
  }
  return sums;
}

ASSAY_LOOP Sums sums_of_steps_loop(const float* weights, std::size_t n, const SubBlockFit& fit,
                                   const Grid& grid) {
  const double lowest = grid.lowest, highest = grid.highest;
  return sums_under(weights, n, fit,
                    [=](double steps) { return nearest_integer(clamp(steps, lowest, highest)); });
}
constexpr Multiversion<sums_of_steps_loop> sums_of_steps;

ASSAY_LOOP Sums sums_of_levels_loop(const float* weights, std::size_t n, const SubBlockFit& fit,
                                    const Grid& grid) {
  const std::span<const Code> levels = grid.levels;
  return sums_under(weights, n, fit, [=](double steps) {
    double level = static_cast<double>(levels[0]);
    for (std::size_t i = 1; i < levels.size(); ++i)
      level =
          steps * 2 > static_cast<double>(levels[i - 1] + levels[i]) ? static_cast<double>(levels[i]) : level;
    return level;
  });
}
constexpr Multiversion<sums_of_levels_loop> sums_of_levels;

/// Nothing where the codes are all alike, which tells no scale. A square is convex: where its least has a
/// minimum below 0, the least of those that are allowed has none.
std::optional<SubBlockFit> least_squares(const Sums& sums, bool has_minimum) {
  if (!(sums.qq > 0)) return std::nullopt;
  const SubBlockFit alone{sums.qw / sums.qq, 0.0};
  if (!has_minimum) return alone;
  const double determinant = sums.n * sums.qq - sums.q * sums.q;
  if (!(determinant > 0)) return std::nullopt;
  const double scale = (sums.n * sums.qw - sums.q * sums.w) / determinant;
  const double minimum = (scale * sums.q - sums.w) / sums.n;
  return minimum > 0 ? SubBlockFit{scale, minimum} : alone;
}

SubBlockFit improved(std::span<const float> weights, SubBlockFit fit, bool has_minimum, const Grid& grid) {
  assert(weights.size() % kLanes == 0);
  for (int round = 0; round < kRounds && fit.scale != 0; ++round) {
    const Sums sums =
        (grid.levels.empty() ? sums_of_steps : sums_of_levels)(weights.data(), weights.size(), fit, grid);
    const auto next = least_squares(sums, has_minimum);
    if (!next) break;
    fit = *next;
  }
  return fit;
}

/// The first weight of the largest magnitude.
double extreme_of(std::span<const float> weights) {
  return static_cast<double>(*std::ranges::max_element(weights, {}, [](float w) { return std::fabs(w); }));
}

}  // namespace

SubBlockFit fit_with_minimum(std::span<const float> weights, Code last) {
  const Extent extent = extent_of(weights.data(), weights.size());
  const double low = std::min(0.0, static_cast<double>(extent.low)), highest = static_cast<double>(last);
  return improved(weights, {(static_cast<double>(extent.high) - low) / highest, -low}, true, {0.0, highest});
}

SubBlockFit fit_symmetric(std::span<const float> weights, Code first, Code last) {
  const Grid grid{static_cast<double>(first), static_cast<double>(last)};
  return improved(weights, {extreme_of(weights) / grid.lowest, 0.0}, false, grid);
}

SubBlockFit fit_levels(std::span<const float> weights, std::span<const Code> levels) {
  const Grid grid{static_cast<double>(levels.front()), static_cast<double>(levels.back()), levels};
  return improved(weights, {extreme_of(weights) / grid.lowest, 0.0}, false, grid);
}

void round_to_levels(std::span<const Code> levels, std::span<const Params> params,
                     std::span<const float> values, std::span<Code> codes, std::span<float> out) {
  const Code nearest_zero = *std::ranges::min_element(levels, {}, [](Code level) { return std::abs(level); });
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double scale = static_cast<double>(params[i].scale);
    const double first = static_cast<double>(levels.front()) * scale,
                 last = static_cast<double>(levels.back()) * scale;
    // Beyond the ends the nearest is the end, also where double cannot tell the distances apart.
    const double wanted = clamp(static_cast<double>(values[i]), std::min(first, last), std::max(first, last));
    Code best = levels.front();
    double distance = std::fabs(wanted - first);
    for (const Code level : levels) {
      const double other = std::fabs(wanted - static_cast<double>(level) * scale);
      best = other < distance ? level : best;
      distance = other < distance ? other : distance;
    }
    codes[i] = scale == 0.0 ? nearest_zero : best;
    out[i] = static_cast<float>(codes[i]) * params[i].scale + params[i].bias;
  }
}

}  // namespace assay
