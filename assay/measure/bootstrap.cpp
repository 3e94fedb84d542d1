#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cassert>
#include <cmath>

#include "assay/base/error.h"
#include "assay/measure/statistics.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

/// SplitMix64: one independent, portable stream for every resample, so threads do not change the result.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return mixed ^ (mixed >> 31);
  }
  /// Uniform in [0, count): the bias of the multiply-shift is below count / 2^32.
  std::size_t below(std::size_t count) {
    return static_cast<std::size_t>(((next() >> 32) * static_cast<std::uint64_t>(count)) >> 32);
  }

 private:
  std::uint64_t state_;
};

/// Sorted replicates of every value: [values][resamples].
std::vector<std::vector<double>> resample(const ClusterStatistic& statistic, std::size_t values,
                                          std::size_t clusters, const BootstrapOptions& options) {
  std::vector<std::vector<double>> replicates(values, std::vector<double>(options.resamples));
  parallel_for(options.resamples, [&](std::size_t index) {
    Random random(options.seed + 0xD1B54A32D192ED03u * (index + 1));
    std::vector<std::uint32_t> counts(clusters, 0);
    for (std::size_t draw = 0; draw < clusters; ++draw) ++counts[random.below(clusters)];
    std::vector<double> result(values);
    statistic(counts, result);
    for (std::size_t v = 0; v < values; ++v) replicates[v][index] = result[v];
  });
  for (auto& row : replicates) std::sort(row.begin(), row.end());
  return replicates;
}

/// Leave-one-cluster-out values, [values][clusters], for the acceleration.
std::vector<std::vector<double>> jackknife(const ClusterStatistic& statistic, std::size_t values,
                                           std::size_t clusters) {
  std::vector<std::vector<double>> left_out(values, std::vector<double>(clusters));
  parallel_for(clusters, [&](std::size_t cluster) {
    std::vector<std::uint32_t> counts(clusters, 1);
    counts[cluster] = 0;
    std::vector<double> result(values);
    statistic(counts, result);
    for (std::size_t v = 0; v < values; ++v) left_out[v][cluster] = result[v];
  });
  return left_out;
}

double acceleration(std::span<const double> left_out) {
  double mean = 0;
  for (const double value : left_out) mean += value / static_cast<double>(left_out.size());
  double squares = 0, cubes = 0;
  for (const double value : left_out) {
    const double gap = mean - value;
    squares += gap * gap;
    cubes += gap * gap * gap;
  }
  const double scale = 6 * std::pow(squares, 1.5);  // 0 also where the squares are tiny
  return scale > 0 ? cubes / scale : 0;
}

void require_two(std::size_t clusters) {
  if (clusters < 2) fail("bootstrap over {} cluster(s), at least 2 expected: use more text", clusters);
}

Interval bca_interval(std::span<const double> sorted, double observed, double accelerate, double confidence) {
  const boost::math::normal normal;
  const auto count = static_cast<double>(sorted.size());
  const auto below =
      static_cast<double>(std::lower_bound(sorted.begin(), sorted.end(), observed) - sorted.begin());
  const auto up_to =
      static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), observed) - sorted.begin());
  // Ties count half; a share of 0 or 1 has no finite normal quantile and is moved half a replicate inward.
  const double share = std::clamp(0.5 * (below + up_to) / count, 0.5 / count, 1 - 0.5 / count);
  const double bias = boost::math::quantile(normal, share);
  const auto end = [&](double probability) {
    const double moved = bias + boost::math::quantile(normal, probability);
    const double corrected = bias + moved / (1 - accelerate * moved);
    return quantile_of_sorted(sorted, boost::math::cdf(normal, corrected));
  };
  return {end(0.5 - confidence / 2), end(0.5 + confidence / 2)};
}

}  // namespace

std::vector<Interval> bootstrap_percentile(const ClusterStatistic& statistic, std::size_t values,
                                           std::size_t clusters, const BootstrapOptions& options) {
  require_two(clusters);
  std::vector<Interval> intervals;
  for (const auto& sorted : resample(statistic, values, clusters, options))
    intervals.push_back({quantile_of_sorted(sorted, 0.5 - options.confidence / 2),
                         quantile_of_sorted(sorted, 0.5 + options.confidence / 2)});
  return intervals;
}

std::vector<Interval> bootstrap_bca(const ClusterStatistic& statistic, std::size_t values,
                                    std::size_t clusters, const BootstrapOptions& options) {
  require_two(clusters);
  const auto replicates = resample(statistic, values, clusters, options);
  const auto left_out = jackknife(statistic, values, clusters);
  std::vector<double> observed(values);
  statistic(std::vector<std::uint32_t>(clusters, 1), observed);
  std::vector<Interval> intervals;
  for (std::size_t v = 0; v < values; ++v)
    intervals.push_back(
        bca_interval(replicates[v], observed[v], acceleration(left_out[v]), options.confidence));
  return intervals;
}

ClusterStatistic ratio_mean_statistic(std::span<const double> values, const Clusters& clusters) {
  assert(values.size() == clusters.tokens());
  std::vector<double> sums(clusters.count(), 0.0), sizes(clusters.count());
  for (std::size_t d = 0; d < clusters.count(); ++d) {
    for (std::size_t i = clusters.starts[d]; i < clusters.starts[d + 1]; ++i) sums[d] += values[i];
    sizes[d] = static_cast<double>(clusters.size(d));
  }
  return [sums = std::move(sums), sizes = std::move(sizes)](std::span<const std::uint32_t> counts,
                                                            std::span<double> out) {
    double sum = 0, size = 0;
    for (std::size_t d = 0; d < counts.size(); ++d) {
      sum += counts[d] * sums[d];
      size += counts[d] * sizes[d];
    }
    out[0] = sum / size;
  };
}

}  // namespace assay
