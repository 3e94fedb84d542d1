// How far the second moments of too few tokens are shrunk.
#include "assay/rounding/effective_tokens.h"

#include <gtest/gtest.h>

#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

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
