#include "assay/measure/statistics.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace assay {

Clusters make_clusters(std::span<const std::uint8_t> ends_document) {
  const std::size_t tokens = ends_document.size();
  Clusters documents{{0}, "documents"};
  for (std::size_t i = 0; i + 1 < tokens; ++i)
    if (ends_document[i] != 0) documents.starts.push_back(i + 1);
  documents.starts.push_back(tokens);
  if (documents.count() >= kEnoughClusters) return documents;

  Clusters blocks{{0}, fmt::format("blocks of {} tokens", kBlockTokens)};
  for (std::size_t start = kBlockTokens; start + kBlockTokens / 2 <= tokens; start += kBlockTokens)
    blocks.starts.push_back(start);
  blocks.starts.push_back(tokens);
  return blocks;
}

std::optional<Interval> exponential(const std::optional<Interval>& interval) {
  if (!interval) return std::nullopt;
  const Interval result{std::exp(interval->low), std::exp(interval->high)};
  return std::isfinite(result.low) && std::isfinite(result.high) ? std::optional(result) : std::nullopt;
}

std::optional<Interval> RatioMean::interval(double confidence) const {
  if (clusters < 2 || !std::isfinite(standard_error)) return std::nullopt;
  const double reach =
      student_quantile(0.5 + confidence / 2, static_cast<double>(clusters - 1)) * standard_error;
  return Interval{mean - reach, mean + reach};
}

double RatioMean::p_value() const {
  if (clusters < 2 || !std::isfinite(standard_error)) return 1;
  if (standard_error == 0) return mean == 0 ? 1 : 0;
  const boost::math::students_t distribution(static_cast<double>(clusters - 1));
  return 2 * boost::math::cdf(boost::math::complement(distribution, std::fabs(mean / standard_error)));
}

namespace {

template <class Value>
RatioMean ratio_mean_of(const Value& value, const Clusters& clusters) {
  RatioMean result;
  result.clusters = clusters.count();
  std::vector<double> sums(clusters.count(), 0.0);
  double total = 0;
  for (std::size_t d = 0; d < clusters.count(); ++d) {
    for (std::size_t i = clusters.starts[d]; i < clusters.starts[d + 1]; ++i) sums[d] += value(i);
    total += sums[d];
  }
  const auto tokens = static_cast<double>(clusters.tokens());
  result.mean = total / tokens;
  if (clusters.count() < 2) {
    result.standard_error = std::numeric_limits<double>::infinity();
    return result;
  }
  double squares = 0;
  for (std::size_t d = 0; d < clusters.count(); ++d) {
    const double residual = sums[d] - result.mean * static_cast<double>(clusters.size(d));
    squares += residual * residual;
  }
  const auto count = static_cast<double>(clusters.count());
  result.standard_error = std::sqrt(count / (count - 1) * squares) / tokens;
  return result;
}

}  // namespace

RatioMean ratio_mean(std::span<const double> values, const Clusters& clusters) {
  assert(values.size() == clusters.tokens());
  return ratio_mean_of([&](std::size_t i) { return values[i]; }, clusters);
}

RatioMean paired_mean(std::span<const double> a, std::span<const double> b, const Clusters& clusters) {
  assert(a.size() == clusters.tokens() && b.size() == clusters.tokens());
  return ratio_mean_of([&](std::size_t i) { return a[i] - b[i]; }, clusters);
}

double quantile_of_sorted(std::span<const double> sorted, double fraction) {
  assert(!sorted.empty() && fraction >= 0 && fraction <= 1);
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = position - static_cast<double>(below);
  return sorted[below] + share * (sorted[above] - sorted[below]);
}

double student_quantile(double probability, double degrees_of_freedom) {
  return boost::math::quantile(boost::math::students_t(degrees_of_freedom), probability);
}

std::vector<double> holm_adjust(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double running = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const auto left = static_cast<double>(order.size() - rank);
    running = std::max(running, std::min(1.0, left * p_values[order[rank]]));
    adjusted[order[rank]] = running;
  }
  return adjusted;
}

Interval wilson_interval(std::uint64_t successes, std::uint64_t trials, double confidence) {
  assert(successes <= trials);
  if (trials == 0) return {0, 1};
  const double z = boost::math::quantile(boost::math::normal(), 0.5 + confidence / 2);
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(successes) / n;
  const double centre = (share + z * z / (2 * n)) / (1 + z * z / n);
  const double reach = z / (1 + z * z / n) * std::sqrt(share * (1 - share) / n + z * z / (4 * n * n));
  return {std::max(0.0, centre - reach), std::min(1.0, centre + reach)};
}

double mcnemar_exact(std::uint64_t only_first, std::uint64_t only_second) {
  const std::uint64_t pairs = only_first + only_second;
  if (pairs == 0) return 1;
  const boost::math::binomial distribution(static_cast<double>(pairs), 0.5);
  const auto smaller = static_cast<double>(std::min(only_first, only_second));
  return std::min(1.0, 2 * boost::math::cdf(distribution, smaller));
}

}  // namespace assay
