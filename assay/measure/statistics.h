#pragma once
// Statistics of autocorrelated token measurements: clusters (documents or blocks), not tokens, are the units
// of resampling. Formulas: ratio mean m = sum S_d / sum T_d over D clusters, standard error sqrt(D/(D-1) sum
// (S_d - m T_d)^2) / sum T_d.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace assay {

/// From how many clusters on verdicts and bootstraps are allowed; below it, the t interval alone.
inline constexpr std::size_t kEnoughClusters = 20;
inline constexpr std::size_t kBlockTokens = 1024;
inline constexpr std::uint64_t kBootstrapSeed = 20240229;
inline constexpr std::size_t kBootstrapResamples = 2000;

/// Scored tokens grouped into runs: cluster d holds scored tokens [starts[d], starts[d + 1]).
struct Clusters {
  std::vector<std::size_t> starts;  // count() + 1 entries, the last one is the number of scored tokens
  std::string kind;                 // "documents" or "blocks of 1024 tokens", as printed

  std::size_t count() const { return starts.size() - 1; }
  std::size_t tokens() const { return starts.back(); }
  std::size_t size(std::size_t cluster) const { return starts[cluster + 1] - starts[cluster]; }
};

/// Documents, when `ends_document` (one flag a scored token, set on an end-of-text token) gives at least
/// kEnoughClusters of them; blocks otherwise. A last block shorter than half joins the one before.
Clusters make_clusters(std::span<const std::uint8_t> ends_document);

struct Interval {
  double low = 0, high = 0;
};

/// Both ends exponentiated; nothing where there is no interval, or an end leaves the range of doubles.
std::optional<Interval> exponential(const std::optional<Interval>& interval);

/// A ratio mean over clusters with its clustered standard error.
struct RatioMean {
  double mean = 0, standard_error = 0;
  std::size_t clusters = 0;
  /// Student t interval with clusters - 1 degrees of freedom; nothing with a single cluster, which tells
  /// nothing about the spread.
  std::optional<Interval> interval(double confidence = 0.95) const;
  /// Two-sided p-value of mean == 0; 1 with a single cluster.
  double p_value() const;
};

/// Mean of one value a token. With a single cluster the standard error is infinite.
RatioMean ratio_mean(std::span<const double> values, const Clusters& clusters);
/// Mean of the paired differences a - b.
RatioMean paired_mean(std::span<const double> a, std::span<const double> b, const Clusters& clusters);

/// Value at a fraction in [0, 1] of ascending values, linearly interpolated between neighbours.
double quantile_of_sorted(std::span<const double> sorted, double fraction);

/// Bootstrap over clusters. `statistic` sees how often each cluster was drawn and writes all its values.
/// Throws Error for fewer than two clusters.
struct BootstrapOptions {
  std::size_t resamples = kBootstrapResamples;
  std::uint64_t seed = kBootstrapSeed;
  double confidence = 0.95;
};
using ClusterStatistic = std::function<void(std::span<const std::uint32_t> counts, std::span<double> values)>;
/// Percentile intervals of `values` statistics. Deterministic in the seed, whatever the threads.
std::vector<Interval> bootstrap_percentile(const ClusterStatistic& statistic, std::size_t values,
                                           std::size_t clusters, const BootstrapOptions& options = {});
/// Bias-corrected and accelerated intervals, for skewed statistics.
std::vector<Interval> bootstrap_bca(const ClusterStatistic& statistic, std::size_t values,
                                    std::size_t clusters, const BootstrapOptions& options = {});
/// The ratio mean of a value, as a ClusterStatistic of one value.
ClusterStatistic ratio_mean_statistic(std::span<const double> values, const Clusters& clusters);

/// Student t: the value that a share `probability` of the distribution lies below.
double student_quantile(double probability, double degrees_of_freedom);

/// Holm's step-down adjustment; the result is in the order of the input.
std::vector<double> holm_adjust(std::span<const double> p_values);

/// Wilson score interval of a share of successes.
Interval wilson_interval(std::uint64_t successes, std::uint64_t trials, double confidence = 0.95);

/// Exact two-sided McNemar test of the two kinds of discordant pairs.
double mcnemar_exact(std::uint64_t only_first, std::uint64_t only_second);

}  // namespace assay
