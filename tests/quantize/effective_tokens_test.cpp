// What repeated text counts for, and how far its second moments are shrunk.
#include "assay/quantize/effective_tokens.h"

#include <gtest/gtest.h>

#include "tests/quantize/random_layers.h"

namespace assay::test {
namespace {

using Windows = std::vector<std::vector<TokenId>>;

std::vector<TokenId> random_window(unsigned seed, std::size_t tokens = 64) {
  std::mt19937 random(seed);
  std::vector<TokenId> window(tokens);
  for (TokenId& token : window) token = static_cast<TokenId>(random() % 5000);
  return window;
}

TEST(EffectiveTokens, WhatIsNewCounts) {
  EXPECT_EQ(distinct_share(Windows{}), 1);
  EXPECT_EQ(distinct_share(Windows{random_window(1), random_window(2)}), 1);
}

TEST(EffectiveTokens, OneTokenCountsOnceWithEachStartOfAWindow) {
  // Four contexts at a window's start, the fourth of them the only one from then on.
  EXPECT_DOUBLE_EQ(distinct_share(Windows(8, std::vector<TokenId>(100, 7))), 4.0 / 800);
}

TEST(EffectiveTokens, RepeatedWindowsAndParagraphsCountOnce) {
  EXPECT_DOUBLE_EQ(distinct_share(Windows(64, random_window(3))), 1.0 / 64);
  std::vector<TokenId> repeated;
  for (int i = 0; i < 10; ++i) {
    const std::vector<TokenId> paragraph = random_window(4, 50);
    repeated.insert(repeated.end(), paragraph.begin(), paragraph.end());
  }
  EXPECT_DOUBLE_EQ(distinct_share(Windows{repeated}),
                   53.0 / 500);  // 50, and 3 seen with another context first
}

// The last token of a context counts as much as the first.
TEST(EffectiveTokens, AContextIsTheTokenAndThreeBeforeIt) {
  EXPECT_DOUBLE_EQ(distinct_share(Windows{{1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}}), 6.0 / 10);
  EXPECT_DOUBLE_EQ(distinct_share(Windows{{1, 9, 3, 4, 5}, {2, 9, 3, 4, 5}}), 9.0 / 10);
}

TEST(EffectiveTokens, EnoughOfThemAreTakenAsTheyAre) {
  for (const std::size_t columns : {4u, 64u, 3072u}) {
    const double enough = kEnoughTokensPerColumn * static_cast<double>(columns);
    EXPECT_EQ(shrinkage_for(enough, columns).correlations, 0);
    EXPECT_EQ(shrinkage_for(enough, columns).diagonal, 0);
    double last = 1;
    for (const double tokens : {0.0, 1.0, enough / 64, enough / 16, enough / 2, enough - 0.5}) {
      const Shrinkage shrinkage = shrinkage_for(tokens, columns);
      EXPECT_LE(shrinkage.correlations, last) << tokens;
      EXPECT_GE(shrinkage.diagonal, 0) << tokens;
      EXPECT_GT(shrinkage.correlations, 0) << tokens;
      last = shrinkage.correlations;
    }
    EXPECT_EQ(shrinkage_for(0, columns).diagonal, 1);
  }
}

TEST(EffectiveTokens, NothingKnownLeavesEqualWeights) {
  const Hessian hessian = random_hessian(Inputs::correlated, 12, 5);
  const Matrix none = to_matrix(shrink(hessian, {1, 1}));
  EXPECT_LT((none - Matrix::Identity(12, 12) * (hessian.trace() / 12)).cwiseAbs().maxCoeff(), 1e-12);
  const Matrix diagonal = to_matrix(shrink(hessian, {1, 0}));
  EXPECT_EQ(diagonal, Matrix(to_matrix(hessian).diagonal().asDiagonal()));
  EXPECT_EQ(to_matrix(shrink(hessian, {0, 0})), to_matrix(hessian));
  // A weighted mean of positive semidefinite matrices, of the same trace.
  const Hessian half = shrink(hessian, {0.5, 0.25});
  EXPECT_NEAR(half.trace(), hessian.trace(), 1e-12 * hessian.trace());
  EXPECT_GT(to_matrix(half).selfadjointView<Eigen::Lower>().eigenvalues().minCoeff(), 0);
}

}  // namespace
}  // namespace assay::test
