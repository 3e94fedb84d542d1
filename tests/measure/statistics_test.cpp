#include "assay/measure/statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "tests/measure/fakes.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::Noise;

Clusters equal_clusters(std::size_t count, std::size_t size) {
  Clusters clusters{{}, "test"};
  for (std::size_t d = 0; d <= count; ++d) clusters.starts.push_back(d * size);
  return clusters;
}

TEST(Statistics, DocumentsWhenThereAreTwentyElseBlocks) {
  std::vector<std::uint8_t> ends(5000, 0);
  for (std::size_t d = 1; d < 20; ++d) ends[d * 100 - 1] = 1;  // 19 ends: 20 documents
  const Clusters documents = make_clusters(ends);
  EXPECT_EQ(documents.kind, "documents");
  ASSERT_EQ(documents.count(), 20u);
  EXPECT_EQ(documents.starts[1], 100u) << "the end token belongs to the document it ends";
  ends[99] = 0;
  const Clusters blocks = make_clusters(ends);
  EXPECT_EQ(blocks.kind, "blocks of 1024 tokens");
  EXPECT_EQ(blocks.starts, (std::vector<std::size_t>{0, 1024, 2048, 3072, 4096, 5000}));
}

TEST(Statistics, AnEndAtTheLastTokenMakesNoEmptyDocument) {
  std::vector<std::uint8_t> ends(200, 0);
  for (std::size_t d = 1; d <= 20; ++d) ends[d * 10 - 1] = 1;
  ends[199] = 1;
  const Clusters clusters = make_clusters(ends);
  for (std::size_t d = 0; d < clusters.count(); ++d) EXPECT_GT(clusters.size(d), 0u);
  EXPECT_EQ(clusters.tokens(), 200u);
}

TEST(Statistics, AShortLastBlockJoinsTheOneBefore) {
  EXPECT_EQ(make_clusters(std::vector<std::uint8_t>(2048 + 511)).starts,
            (std::vector<std::size_t>{0, 1024, 2559}));
  EXPECT_EQ(make_clusters(std::vector<std::uint8_t>(2048 + 512)).starts,
            (std::vector<std::size_t>{0, 1024, 2048, 2560}));
  EXPECT_EQ(make_clusters(std::vector<std::uint8_t>(10)).starts, (std::vector<std::size_t>{0, 10}));
}

TEST(Statistics, ClusteredErrorOfClustersOfOneIsTheUsualOne) {
  Noise noise(1);
  std::vector<double> values(500);
  for (double& value : values) value = noise.normal();
  const RatioMean result = ratio_mean(values, equal_clusters(500, 1));
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / 500;
  double variance = 0;
  for (const double value : values) variance += (value - mean) * (value - mean) / 499;
  EXPECT_NEAR(result.mean, mean, 1e-15);
  EXPECT_NEAR(result.standard_error, std::sqrt(variance / 500), 1e-15);
}

TEST(Statistics, ClusteredErrorByHand) {
  // Sums 3, 3, 6 over sizes 2, 1, 3: m = 2, residuals -1, 1, 0; SE = sqrt(3/2 * 2) / 6.
  const RatioMean result = ratio_mean(std::vector<double>{1, 2, 3, 1, 2, 3}, Clusters{{0, 2, 3, 6}, "test"});
  EXPECT_DOUBLE_EQ(result.mean, 2);
  EXPECT_DOUBLE_EQ(result.standard_error, std::sqrt(3.0) / 6);
}

TEST(Statistics, RepeatedTokensWidenTheError) {
  // Every value four times: the token-level error would halve, the clustered one must not move.
  Noise noise(2);
  std::vector<double> values, repeated;
  for (int i = 0; i < 200; ++i) {
    values.push_back(noise.normal());
    repeated.insert(repeated.end(), 4, values.back());
  }
  EXPECT_NEAR(ratio_mean(repeated, equal_clusters(200, 4)).standard_error,
              ratio_mean(values, equal_clusters(200, 1)).standard_error, 1e-14);
}

TEST(Statistics, PairedDifferences) {
  const std::vector<double> a{1, 2, 4, 4}, b{0, 2, 1, 3};
  const RatioMean result = paired_mean(a, b, equal_clusters(2, 2));
  EXPECT_DOUBLE_EQ(result.mean, 1.25);
  EXPECT_DOUBLE_EQ(result.standard_error, std::sqrt(2 * 2 * 1.5 * 1.5) / 4);
}

TEST(Statistics, OneClusterHasAMeanAndNoInterval) {
  const RatioMean mean = ratio_mean(std::vector<double>{1, 2}, Clusters{{0, 2}, "test"});
  EXPECT_TRUE(std::isinf(mean.standard_error));
  EXPECT_DOUBLE_EQ(mean.mean, 1.5);
  EXPECT_FALSE(mean.interval());
  EXPECT_EQ(mean.p_value(), 1);
  EXPECT_FALSE(exponential(mean.interval()));
  const auto statistic = ratio_mean_statistic(std::vector<double>{1, 2}, Clusters{{0, 2}, "test"});
  EXPECT_ERROR(bootstrap_percentile(statistic, 1, 1), "at least 2");
  EXPECT_ERROR(bootstrap_bca(statistic, 1, 1), "at least 2");
}

TEST(Statistics, ConstantValuesHaveAnIntervalOfNoWidth) {
  const Clusters clusters = equal_clusters(25, 3);
  for (const double value : {0.0, 0.1, 1e-120}) {
    const std::vector<double> values(75, value);
    const RatioMean mean = ratio_mean(values, clusters);
    EXPECT_NEAR(mean.mean, value, 1e-15 * value);
    EXPECT_NEAR(mean.interval()->high - mean.interval()->low, 0, 1e-14 * value);
    const Interval interval = bootstrap_bca(ratio_mean_statistic(values, clusters), 1, 25)[0];
    EXPECT_NEAR(interval.low, value, 1e-15 * value);
    EXPECT_NEAR(interval.high, value, 1e-15 * value);
  }
  // The cube of a spread this small leaves the range of doubles.
  std::vector<double> tiny(75, 0.0);
  for (std::size_t i = 0; i < tiny.size(); ++i) tiny[i] = static_cast<double>(i % 7) * 1e-120;
  const Interval interval = bootstrap_bca(ratio_mean_statistic(tiny, clusters), 1, 25)[0];
  EXPECT_TRUE(std::isfinite(interval.low) && std::isfinite(interval.high));
}

TEST(Statistics, AnIntervalBeyondTheRangeOfDoublesIsNone) {
  EXPECT_FALSE(exponential(Interval{-1, 1e4}));
  EXPECT_DOUBLE_EQ(exponential(Interval{0, 1})->high, std::exp(1));
  EXPECT_FALSE(exponential(std::nullopt));
}

TEST(Statistics, StudentQuantilesFromTables) {
  EXPECT_NEAR(student_quantile(0.975, 1), 12.7062047, 1e-6);
  EXPECT_NEAR(student_quantile(0.975, 10), 2.22813885, 1e-7);
  EXPECT_NEAR(student_quantile(0.95, 30), 1.69726089, 1e-7);
  EXPECT_NEAR(student_quantile(0.025, 5), -2.57058184, 1e-7);
}

TEST(Statistics, IntervalAndPValueAgree) {
  RatioMean mean{0.5, 0.2, 12};
  const Interval interval = mean.interval().value();
  EXPECT_NEAR(interval.low, 0.5 - 2.20098516 * 0.2, 1e-8);
  EXPECT_NEAR(interval.high, 0.5 + 2.20098516 * 0.2, 1e-8);
  mean.mean = 2.20098516 * 0.2;  // exactly at the edge of the interval
  EXPECT_NEAR(mean.p_value(), 0.05, 1e-8);
}

TEST(Statistics, QuantilesInterpolate) {
  const std::vector<double> values{1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(quantile_of_sorted(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(values, 0.9), 4 + 0.7 * 4);
  EXPECT_DOUBLE_EQ(quantile_of_sorted(values, 1), 8);
}

TEST(Statistics, HolmByHand) {
  const auto adjusted = holm_adjust(std::vector<double>{0.03, 0.01, 0.04, 0.5});
  EXPECT_DOUBLE_EQ(adjusted[1], 0.04);
  EXPECT_DOUBLE_EQ(adjusted[0], 0.09);
  EXPECT_DOUBLE_EQ(adjusted[2], 0.09) << "never below an earlier one";
  EXPECT_DOUBLE_EQ(adjusted[3], 0.5);
  EXPECT_DOUBLE_EQ(holm_adjust(std::vector<double>{0.9, 0.8})[0], 1) << "never above one";
}

TEST(Statistics, WilsonFromTables) {
  const Interval interval = wilson_interval(8, 10);
  EXPECT_NEAR(interval.low, 0.490162, 1e-6);
  EXPECT_NEAR(interval.high, 0.943318, 1e-6);
  EXPECT_DOUBLE_EQ(wilson_interval(0, 20).low, 0);
  EXPECT_GT(wilson_interval(0, 20).high, 0.1);
  EXPECT_DOUBLE_EQ(wilson_interval(20, 20).high, 1);
}

TEST(Statistics, McNemarExact) {
  EXPECT_DOUBLE_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_NEAR(mcnemar_exact(1, 9), 22.0 / 1024, 1e-15);  // 2 * (1 + 10) / 2^10
  EXPECT_NEAR(mcnemar_exact(9, 1), 22.0 / 1024, 1e-15);
  EXPECT_DOUBLE_EQ(mcnemar_exact(5, 5), 1);
}

/// Autocorrelated values: one document's level plus an AR(1) path.
std::vector<double> simulate(Noise& noise, std::size_t clusters, std::size_t size) {
  std::vector<double> values;
  for (std::size_t d = 0; d < clusters; ++d) {
    double state = 0;
    const double level = 0.5 * noise.normal();
    for (std::size_t i = 0; i < size; ++i) {
      state = 0.8 * state + noise.normal();
      values.push_back(1 + level + state);
    }
  }
  return values;
}

TEST(Statistics, IntervalsCoverTheTruthOnAutocorrelatedData) {
  const test::SingleThread single;
  Noise noise(5);
  constexpr int kRounds = 800;
  const Clusters clusters = equal_clusters(60, 12), tokens = equal_clusters(720, 1);
  int student = 0, percentile = 0, accelerated = 0, naive = 0;
  const auto covers = [](const std::optional<Interval>& interval) {
    return interval->low <= 1 && 1 <= interval->high;
  };
  BootstrapOptions options;
  options.resamples = 300;
  for (int round = 0; round < kRounds; ++round) {
    options.seed = static_cast<std::uint64_t>(round);
    const auto values = simulate(noise, 60, 12);
    const auto statistic = ratio_mean_statistic(values, clusters);
    student += covers(ratio_mean(values, clusters).interval());
    percentile += covers(bootstrap_percentile(statistic, 1, 60, options)[0]);
    accelerated += covers(bootstrap_bca(statistic, 1, 60, options)[0]);
    naive += covers(ratio_mean(values, tokens).interval());
  }
  for (const int covered : {student, percentile, accelerated}) {
    EXPECT_GE(covered, 0.93 * kRounds);
    EXPECT_LE(covered, 0.97 * kRounds);
  }
  EXPECT_LT(naive, 0.85 * kRounds) << "token-level errors are too small: why clusters are used";
}

TEST(Statistics, BootstrapIntervalsOfSkewedData) {
  // Expected ends: numpy, 400,000 resamples of the same 30 exponential quantiles. Without the acceleration
  // BCa would give [.687, 1.366].
  std::vector<double> values;
  for (int i = 0; i < 30; ++i) values.push_back(-std::log(1 - (i + 0.5) / 30));
  const auto statistic = ratio_mean_statistic(values, equal_clusters(30, 1));
  BootstrapOptions options;
  options.resamples = 40000;
  const Interval percentile = bootstrap_percentile(statistic, 1, 30, options)[0];
  EXPECT_NEAR(percentile.low, 0.6740, 0.008);
  EXPECT_NEAR(percentile.high, 1.3482, 0.008);
  const Interval accelerated = bootstrap_bca(statistic, 1, 30, options)[0];
  EXPECT_NEAR(accelerated.low, 0.7091, 0.010);
  EXPECT_NEAR(accelerated.high, 1.4078, 0.015);
}

TEST(Statistics, BootstrapDependsOnTheSeedAndNotOnThreads) {
  Noise noise(7);
  std::vector<double> values(300);
  for (double& value : values) value = noise.normal();
  const auto statistic = ratio_mean_statistic(values, equal_clusters(30, 10));
  BootstrapOptions options;
  set_thread_count(1);
  const Interval one = bootstrap_bca(statistic, 1, 30, options)[0];
  set_thread_count(4);
  const Interval four = bootstrap_bca(statistic, 1, 30, options)[0];
  set_thread_count(0);
  EXPECT_EQ(one.low, four.low);
  EXPECT_EQ(one.high, four.high);
  options.seed = 9;
  EXPECT_NE(bootstrap_bca(statistic, 1, 30, options)[0].low, one.low);
}

}  // namespace
}  // namespace assay
