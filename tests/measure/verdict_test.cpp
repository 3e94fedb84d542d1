#include "assay/measure/verdict.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/measure/fakes.h"

namespace assay {
namespace {

Comparison with(double mean, double error, std::size_t clusters) {
  Comparison comparison;
  comparison.first = "A";
  comparison.second = "B";
  comparison.difference = {mean, error, clusters};
  comparison.interval = comparison.difference.interval(0.95);
  comparison.equivalence = comparison.difference.interval(0.90);
  return comparison;
}

Decision decide_one(double mean, double error, std::size_t clusters, double margin = 0.5) {
  std::vector<Comparison> family{with(mean, error, clusters)};
  decide(family, margin);
  return family[0].decision;
}

TEST(Verdict, BetterNeedsIntervalEffectAndClusters) {
  EXPECT_EQ(decide_one(-0.02, 0.002, 50), Decision::first_better);
  EXPECT_EQ(decide_one(0.02, 0.002, 50), Decision::second_better);
  EXPECT_EQ(decide_one(-0.02, 0.011, 50), Decision::not_resolved) << "the interval holds 0";
  EXPECT_EQ(decide_one(-0.02, 0.002, 19), Decision::not_resolved) << "too few clusters";
  EXPECT_EQ(decide_one(-0.02, 0.002, 20), Decision::first_better);
  EXPECT_NE(decide_one(-0.004, 0.0005, 50), Decision::first_better) << "below the smallest effect";
}

TEST(Verdict, IndistinguishableNeedsTheIntervalInsideTheMargin) {
  EXPECT_EQ(decide_one(0.0005, 0.001, 50), Decision::indistinguishable);
  EXPECT_EQ(decide_one(-0.004, 0.0005, 50), Decision::indistinguishable)
      << "resolved, and too small to matter";
  EXPECT_EQ(decide_one(0.0005, 0.004, 50), Decision::not_resolved);
  EXPECT_EQ(decide_one(0.0005, 0.001, 10), Decision::not_resolved);
  // 90 % interval inside, 95 % not: two one-sided tests at 5 % decide.
  const double margin = std::log1p(0.005), error = margin / student_quantile(0.95, 49) * 0.999;
  EXPECT_EQ(decide_one(0, error, 50), Decision::indistinguishable);
  EXPECT_EQ(decide_one(0, error * 1.002, 50), Decision::not_resolved);
}

TEST(Verdict, SeveralComparisonsRaiseTheBar) {
  // p is about .03: enough alone, not among four.
  const double error = 0.02 / 2.25;
  EXPECT_EQ(decide_one(-0.02, error, 50), Decision::first_better);
  std::vector<Comparison> family(4, with(-0.02, error, 50));
  decide(family, 0.5);
  for (const Comparison& comparison : family) {
    EXPECT_EQ(comparison.decision, Decision::not_resolved);
    EXPECT_NEAR(comparison.adjusted_p, 4 * comparison.difference.p_value(), 1e-12);
  }
}

TEST(Verdict, Sentences) {
  std::vector<Comparison> family{with(-std::log(1.012), 0.001, 60)};
  decide(family, 0.5);
  EXPECT_EQ(family[0].sentence(0.5).substr(0, 36), "A is better than B by 1.20 % ppl [1.");
  family = {with(std::log(1.012), 0.001, 60)};
  decide(family, 0.5);
  EXPECT_EQ(family[0].sentence(0.5).substr(0, 36), "B is better than A by 1.20 % ppl [1.");
  family = {with(0, 0.0001, 60)};
  decide(family, 0.5);
  EXPECT_EQ(family[0].sentence(0.5), "A and B are indistinguishable (margin 0.5 % ppl)");
  family = {with(0, 0.001, 6)};
  decide(family, 0.5);
  EXPECT_EQ(family[0].sentence(0.5),
            "A against B: not resolved; 6 clusters of text, 20 needed for a verdict");
}

TEST(Verdict, ComparesPairedLosses) {
  test::Noise noise(1);
  std::vector<double> base(25 * 40), worse;
  for (double& value : base) value = 3 + noise.normal();
  for (const double value : base) worse.push_back(value + 0.05 + 0.01 * noise.normal());
  Clusters clusters{{}, "test"};
  for (std::size_t d = 0; d <= 25; ++d) clusters.starts.push_back(d * 40);
  std::vector<Comparison> family{compare_losses("worse", "base", worse, base, clusters)};
  decide(family, 0.5);
  EXPECT_EQ(family[0].decision, Decision::second_better);
  EXPECT_NEAR(family[0].perplexity_ratio(), std::exp(0.05), 0.001);
  EXPECT_LT(family[0].perplexity_ratio_interval()->low, std::exp(0.05));
  EXPECT_GT(family[0].perplexity_ratio_interval()->high, std::exp(0.05));
  EXPECT_LT(family[0].detectable_percent, 0.2) << "pairing removes the text's own noise";
}

TEST(Verdict, IntervalsOfAComparisonAreThoseOfTheTables) {
  // Differences 1..25 of clusters of one token: mean 13, deviation sqrt(54.1666...). Student's quantiles at
  // 24 degrees of freedom from a table: 2.0639 (95 % interval) and 1.7109 (90 %).
  std::vector<double> first, second(25, 0.0);
  Clusters clusters{{0}, "test"};
  for (int d = 1; d <= 25; ++d) {
    first.push_back(d);
    clusters.starts.push_back(static_cast<std::size_t>(d));
  }
  const Comparison comparison = compare_losses("A", "B", first, second, clusters);
  const double error = std::sqrt(650.0 / 12) / 5;
  EXPECT_NEAR(comparison.interval->low, 13 - 2.0639 * error, 1e-3);
  EXPECT_NEAR(comparison.interval->high, 13 + 2.0639 * error, 1e-3);
  EXPECT_NEAR(comparison.equivalence->low, 13 - 1.7109 * error, 1e-3);
  EXPECT_NEAR(comparison.equivalence->high, 13 + 1.7109 * error, 1e-3);
  // 2.0639 + .8569: what is found four times in five.
  EXPECT_NEAR(std::log1p(comparison.detectable_percent / 100), 2.9208 * error, 2e-3);
}

TEST(Verdict, OneClusterClaimsNothing) {
  const std::vector<double> losses(10, 1.0), worse(10, 3.0);
  for (const auto& other : {losses, worse}) {
    std::vector<Comparison> family{compare_losses("A", "B", other, losses, Clusters{{0, 10}, "test"})};
    decide(family, 0.5);
    EXPECT_EQ(family[0].decision, Decision::not_resolved);
    EXPECT_FALSE(family[0].interval);
    EXPECT_FALSE(family[0].equivalence);
    EXPECT_FALSE(family[0].perplexity_ratio_interval());
    EXPECT_TRUE(std::isinf(family[0].detectable_percent));
    EXPECT_EQ(family[0].adjusted_p, 1);
    EXPECT_EQ(family[0].sentence(0.5),
              "A against B: not resolved; 1 cluster of text, 20 needed for a verdict");
  }
}

}  // namespace
}  // namespace assay
