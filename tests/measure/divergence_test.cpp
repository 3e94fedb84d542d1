#include "assay/measure/divergence.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "assay/base/error.h"
#include "tests/isa.h"
#include "tests/measure/fakes.h"
#include "tests/support.h"

namespace assay {
namespace {

std::vector<float> random_logits(test::Noise& noise, std::size_t count, double spread) {
  std::vector<float> logits(count);
  for (float& logit : logits) logit = static_cast<float>(spread * noise.normal());
  return logits;
}

/// Straight from the definition, in long double.
long double direct_kl(const std::vector<float>& p, const std::vector<float>& q) {
  long double sum_p = 0, sum_q = 0, kl = 0;
  for (std::size_t v = 0; v < p.size(); ++v) {
    sum_p += std::exp(static_cast<long double>(p[v]));
    sum_q += std::exp(static_cast<long double>(q[v]));
  }
  for (std::size_t v = 0; v < p.size(); ++v) {
    const long double share = std::exp(static_cast<long double>(p[v])) / sum_p;
    kl += share * std::log(share / (std::exp(static_cast<long double>(q[v])) / sum_q));
  }
  return kl;
}

double kl_of(const std::vector<float>& p, const std::vector<float>& q) {
  return diverge_position(p, score_position(p, 0), q, score_position(q, 0)).kl;
}

TEST(Divergence, LossOfUniformLogitsIsLogVocabulary) {
  const std::vector<float> logits(1000, -3.5f);
  EXPECT_NEAR(score_position(logits, 17).nll, std::log(1000.0), 1e-13);
}

TEST(Divergence, LossSurvivesLargeLogits) {
  EXPECT_NEAR(score_position(std::vector<float>{3e38f, -3e38f}, 0).nll, 0, 1e-12);
  EXPECT_NEAR(score_position(std::vector<float>{1000, 1001}, 0).nll, 1 + std::log1p(std::exp(-1.0)), 1e-12);
}

TEST(Divergence, TiesGoToTheLowestId) {
  EXPECT_EQ(score_position(std::vector<float>{1, 4, 2, 4, 4}, 0).top, 1);
  EXPECT_EQ(score_position(std::vector<float>{0, 0, 0}, 2).top, 0);
}

TEST(Divergence, GivesTheSameBitsOnEveryInstructionSet) {
  test::Noise noise(9);
  for (const std::size_t count : {7u, 64u, 1001u}) {
    const auto p = random_logits(noise, count, 3), q = random_logits(noise, count, 3);
    test::expect_same_on_every_isa([&] {
      const PositionScore a = score_position(p, 3), b = score_position(q, 3);
      const PositionDivergence found = diverge_position(p, a, q, b);
      return std::array{a.nll, a.log_sum, b.nll, found.kl, found.delta_p};
    });
  }
}

TEST(Divergence, NonFiniteLogitsAreErrors) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(score_position(std::vector<float>{0, nan, 1}, 0), "logit 1 of 3", "nan");
  EXPECT_ERROR(score_position(std::vector<float>{nan, 0, 1}, 0), "logit 0 of 3");
  EXPECT_ERROR(score_position(std::vector<float>{0, 1, inf}, 0), "logit 2 of 3", "inf");
  EXPECT_ERROR(score_position(std::vector<float>{0, -inf, 1}, 0), "logit 1 of 3");
}

TEST(Divergence, MatchesTheDefinition) {
  test::Noise noise(2);
  for (int round = 0; round < 200; ++round) {
    const std::size_t count = 2 + static_cast<std::size_t>(noise.below(500));
    const auto p = random_logits(noise, count, 3), q = random_logits(noise, count, 3);
    const double kl = kl_of(p, q);
    EXPECT_GE(kl, 0);
    EXPECT_NEAR(kl, static_cast<double>(direct_kl(p, q)), 1e-11 * (1 + kl));
  }
}

TEST(Divergence, OfAModelFromItselfIsZero) {
  test::Noise noise(3);
  const auto p = random_logits(noise, 8192, 5);
  EXPECT_EQ(kl_of(p, p), 0);
}

TEST(Divergence, IsNeverNegativeForTinyDifferences) {
  test::Noise noise(4);
  for (int round = 0; round < 300; ++round) {
    const auto p = random_logits(noise, 64, 4);
    auto q = p;
    for (float& logit : q) logit = std::nextafter(logit, noise.uniform() < 0.5 ? -100.0f : 100.0f);
    EXPECT_GE(kl_of(p, q), 0);
  }
}

TEST(Divergence, IgnoresAShiftOfAllLogits) {
  test::Noise noise(5);
  auto p = random_logits(noise, 300, 2), q = random_logits(noise, 300, 2);
  // Multiples of 2^-10: the shift by 64 is exact in f32.
  for (auto* logits : {&p, &q})
    for (float& logit : *logits) logit = std::round(logit * 1024) / 1024;
  auto shifted = q;
  for (float& logit : shifted) logit += 64;
  EXPECT_NEAR(kl_of(p, shifted), kl_of(p, q), 1e-13);
}

TEST(Divergence, IsReferenceFirst) {
  const std::vector<float> p{2, 0, 0}, q{0, 0, 0};
  EXPECT_NEAR(kl_of(p, q), static_cast<double>(direct_kl(p, q)), 1e-14);
  EXPECT_GT(std::fabs(kl_of(p, q) - kl_of(q, p)), 0.01) << "the two directions differ";
}

TEST(Divergence, ProbabilityChangeOfTheTargetIsTestMinusReference) {
  const std::vector<float> p{1, 0}, q{0, 1};
  const double up = 1 / (1 + std::exp(-1.0)), down = 1 - up;
  EXPECT_NEAR(diverge_position(p, score_position(p, 0), q, score_position(q, 0)).delta_p, down - up, 1e-14);
  EXPECT_NEAR(diverge_position(p, score_position(p, 1), q, score_position(q, 1)).delta_p, up - down, 1e-14);
}

TEST(Divergence, AClearlyNegativeSumIsAnErrorAndNotClamped) {
  const std::vector<float> p{1, 0}, q{1, 0};
  PositionScore wrong = score_position(q, 0);
  wrong.log_sum -= 1e-6;  // a score that does not belong to the logits
  EXPECT_ERROR(diverge_position(p, score_position(p, 0), q, wrong), "KL divergence", "at least 0");
  wrong.log_sum += 1e-6 - 1e-11;
  EXPECT_EQ(diverge_position(p, score_position(p, 0), q, wrong).kl, 0);
}

}  // namespace
}  // namespace assay
