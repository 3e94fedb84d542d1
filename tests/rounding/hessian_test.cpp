// Second moments against the plain sum in f64, and what they must not depend on.
#include "assay/rounding/hessian.h"

#include <algorithm>
#include <limits>

#include "assay/parallel/threads.h"
#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

/// X^T X / n in f64.
Matrix plain_moments(const std::vector<float>& x, std::size_t columns) {
  const std::size_t tokens = x.size() / columns;
  const Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>> inputs(
      x.data(), index(tokens), index(columns));
  const Matrix wide = inputs.cast<double>();
  return wide.transpose() * wide / static_cast<double>(tokens);
}

/// Largest difference of an entry, in parts of sqrt(H_ii H_jj).
double largest_difference(const Matrix& a, const Matrix& b) {
  double largest = 0;
  for (Eigen::Index i = 0; i < a.rows(); ++i)
    for (Eigen::Index j = 0; j < a.cols(); ++j)
      largest = std::max(largest, std::abs(a(i, j) - b(i, j)) / std::sqrt(b(i, i) * b(j, j)));
  return largest;
}

/// Some hundred columns (two tiles, one of them narrow) of unlike size, and tokens that end inside a chunk.
std::vector<float> uneven_inputs(std::size_t tokens, std::size_t columns) {
  std::vector<float> x = random_inputs(tokens, columns, 7, 0.8f);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= std::exp2(static_cast<float>(i % columns % 9) - 4.0f);
  return x;
}

TEST(HessianTest, ChunksAndTilesAddUpToThePlainSum) {
  for (const std::size_t tokens : {1u, 3u, 4096u, 4097u, 8500u}) {
    const std::vector<float> x = uneven_inputs(tokens, 131);
    const Hessian hessian = make_hessian(x, tokens, 131);
    EXPECT_EQ(hessian.tokens, tokens);
    EXPECT_EQ(hessian.columns, 131u);
    EXPECT_LT(largest_difference(to_matrix(hessian), plain_moments(x, 131)), 1e-6) << tokens << " tokens";
  }
}

TEST(HessianTest, HalvesOfTheTokensAverageToTheWhole) {
  constexpr std::size_t kTokens = 6000, kColumns = 40;
  const std::vector<float> x = uneven_inputs(kTokens, kColumns);
  const std::span<const float> all(x);
  const Matrix first = to_matrix(make_hessian(all.first(2000 * kColumns), 2000, kColumns));
  const Matrix rest = to_matrix(make_hessian(all.subspan(2000 * kColumns), 4000, kColumns));
  EXPECT_LT(largest_difference((first * 2000.0 + rest * 4000.0) / 6000.0,
                               to_matrix(make_hessian(x, kTokens, kColumns))),
            1e-6);
}

TEST(HessianTest, IsSymmetricToTheLastBit) {
  const Hessian hessian = make_hessian(uneven_inputs(700, 200), 700, 200);
  for (std::size_t i = 0; i < 200; ++i)
    for (std::size_t j = 0; j < i; ++j) ASSERT_EQ(hessian.at(i, j), hessian.at(j, i)) << i << ", " << j;
}

TEST(HessianTest, OrderOfTheTokensDoesNotMatter) {
  constexpr std::size_t kTokens = 5000, kColumns = 37;
  const std::vector<float> x = uneven_inputs(kTokens, kColumns);
  std::vector<std::size_t> order(kTokens);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::shuffle(order.begin(), order.end(), std::mt19937(3));
  std::vector<float> shuffled(x.size());
  for (std::size_t t = 0; t < kTokens; ++t)
    std::copy_n(x.begin() + static_cast<std::ptrdiff_t>(order[t] * kColumns), kColumns,
                shuffled.begin() + static_cast<std::ptrdiff_t>(t * kColumns));
  EXPECT_LT(largest_difference(to_matrix(make_hessian(shuffled, kTokens, kColumns)),
                               to_matrix(make_hessian(x, kTokens, kColumns))),
            1e-6);
}

// Fewer tiles than threads, as many, and more.
TEST(HessianTest, ThreadsDoNotChangeABit) {
  for (const std::size_t columns : {1u, 33u, 128u, 129u, 300u}) {
    const std::vector<float> x = uneven_inputs(4200, columns);
    set_thread_count(1);
    const Hessian one = make_hessian(x, 4200, columns);
    for (const int threads : {2, 3}) {
      set_thread_count(threads);
      EXPECT_EQ(make_hessian(x, 4200, columns).values, one.values) << columns << " columns, " << threads;
    }
    set_thread_count(0);
  }
}

TEST(HessianTest, InputsThatAreNotFiniteAreRefused) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), 1e30f}) {
    std::vector<float> x = uneven_inputs(300, 140);
    x[299 * 140 + 133] = bad;  // its square does not fit f32 either
    EXPECT_ERROR(make_hessian(x, 300, 140), "calibration", "feature 133", "not finite");
  }
}

TEST(HessianTest, DiagonalAndTraceAreThoseOfTheMatrix) {
  const std::vector<float> x = uneven_inputs(50, 6);
  const Hessian hessian = make_hessian(x, 50, 6);
  const Matrix plain = plain_moments(x, 6);
  EXPECT_NEAR(hessian.trace(), plain.trace(), 1e-5 * plain.trace());
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(hessian.diagonal()[i], hessian.at(i, i));
}

// Rows fill one panel and a part of the next.
TEST(HessianTest, OutputLossIsThatOfEveryRow) {
  constexpr std::size_t kColumns = 24;
  const Hessian hessian = make_hessian(uneven_inputs(90, kColumns), 90, kColumns);
  for (const std::size_t rows : {1u, 63u, 64u, 65u, 130u}) {
    const std::vector<float> weights = gaussian(rows * kColumns, 3), stored = gaussian(rows * kColumns, 4);
    const double expected = row_losses(errors(weights, stored, kColumns), to_matrix(hessian)).sum();
    EXPECT_NEAR(output_loss(hessian, weights, stored), expected, 1e-12 * expected) << rows;
    const std::vector<float> zeros(weights.size());
    EXPECT_EQ(output_loss(hessian, weights, {}), output_loss(hessian, weights, zeros)) << rows;
  }
}

TEST(HessianTest, NoTokensMakeAMatrixOfZeros) {
  const Hessian hessian = make_hessian({}, 0, 5);
  EXPECT_EQ(hessian.values, std::vector<double>(25, 0.0));
}

}  // namespace
}  // namespace assay::test
