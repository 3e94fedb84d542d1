#include "assay/kernels/cpu/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "assay/kernels/exponential.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

std::vector<float> spread_values(std::size_t count, unsigned seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Exponential, DoubleIsExactToAFewUnits) {
  double worst = 0;
  for (int i = -700000; i <= 700000; i += 7) {
    const double x = i * 1e-3 + 1e-7;
    worst = std::max(worst, std::abs(exp_inline(x) / std::exp(x) - 1));
  }
  EXPECT_LT(worst, 1e-15);
  EXPECT_EQ(exp_inline(0.0), 1.0);
  EXPECT_LT(exp_inline(-1e9), 1e-300);
}

TEST(FastExp, IsWithinTwoUlpOfTheTruth) {
  double worst = 0;
  for (float x = -86.9f; x < 87.9f; x += 0.00173f) {
    const double truth = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(fast_exp(x) / truth - 1));
  }
  EXPECT_LT(worst, 2.4e-7);  // 2 ulp
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
}

TEST(FastExp, StaysFiniteAndKeepsNan) {
  EXPECT_GT(fast_exp(-1000.0f), 0.0f);
  EXPECT_LT(fast_exp(-1000.0f), 1e-37f);
  EXPECT_TRUE(std::isfinite(fast_exp(1000.0f)));
  EXPECT_TRUE(std::isfinite(fast_exp(-std::numeric_limits<float>::infinity())));
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(RmsNorm, MatchesTheFormulaInFloat64) {
  for (const std::size_t width : {1u, 15u, 64u, 320u}) {
    const std::size_t rows = 300;
    const auto x = spread_values(rows * width, 1, 3), weight = spread_values(width, 2);
    std::vector<float> out(x.size());
    rms_norm(x, weight, 1e-5f, out);
    for (std::size_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (std::size_t i = 0; i < width; ++i)
        squares += static_cast<double>(x[r * width + i]) * x[r * width + i];
      const double factor = 1 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
      for (std::size_t i = 0; i < width; ++i)
        ASSERT_NEAR(out[r * width + i], x[r * width + i] * factor * weight[i], 2e-6)
            << width << " " << r << " " << i;
    }
    auto in_place = x;
    rms_norm(in_place, weight, 1e-5f, in_place);
    EXPECT_EQ(in_place, out);
  }
}

TEST(RmsNorm, EpsilonKeepsAZeroRowZero) {
  std::vector<float> zeros(8), weight(8, 1.0f), out(8, 5.0f);
  rms_norm(zeros, weight, 1e-6f, out);
  EXPECT_EQ(out, zeros);
}

TEST(Softmax, MatchesTheFormulaInFloat64) {
  for (const std::size_t count : {1u, 7u, 16u, 33u, 1000u}) {
    const auto scores = spread_values(count, static_cast<unsigned>(count), 20);
    auto out = scores;
    scaled_softmax(out, 0.125f);
    double total = 0, maximum = *std::max_element(scores.begin(), scores.end());
    for (const float score : scores) total += std::exp((score - maximum) * 0.125);
    for (std::size_t i = 0; i < count; ++i)
      ASSERT_NEAR(out[i], std::exp((scores[i] - maximum) * 0.125) / total, 1e-6) << count << " " << i;
  }
}

TEST(Softmax, SurvivesHugeScoresAndKeepsNan) {
  std::vector<float> huge(20, -3e38f);
  huge[3] = 3e37f;
  scaled_softmax(huge, 1.0f);
  EXPECT_FLOAT_EQ(huge[3], 1.0f);
  std::vector<float> damaged(20, 1.0f);
  damaged[17] = std::numeric_limits<float>::quiet_NaN();
  scaled_softmax(damaged, 1.0f);
  for (const float value : damaged) EXPECT_TRUE(std::isnan(value));
}

TEST(SiluMultiply, MatchesTheFormulaInFloat64) {
  const auto gate = spread_values(40001, 4, 8), up = spread_values(40001, 5);
  auto out = gate;
  silu_multiply(out, up);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double truth = gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i];
    ASSERT_NEAR(out[i], truth, 1e-6 * std::max(1.0, std::abs(truth))) << i;
  }
}

TEST(Add, AddsVectorsAndBiases) {
  auto x = spread_values(70000, 6);
  const auto y = spread_values(70000, 7), before = x;
  add(x, y);
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(x[i], before[i] + y[i]);
  const std::vector<float> bias = {1, 2, 3, 4, 5, 6, 7};
  auto rows = std::vector<float>(7 * 5000, 0.5f);
  add_bias(rows, bias);
  for (std::size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(rows[i], 0.5f + bias[i % 7]);
}

TEST(Elementwise, GivesTheSameBitsOnOneThreadAndOnMany) {
  const auto x = spread_values(512 * 300, 8), weight = spread_values(512, 9);
  const auto compute = [&](int threads) {
    set_thread_count(threads);
    std::vector<float> out(x.size());
    rms_norm(x, weight, 1e-6f, out);
    silu_multiply(out, x);
    set_thread_count(0);
    return out;
  };
  EXPECT_EQ(compute(1), compute(4));
}

}  // namespace
}  // namespace assay
