// "GPTQ never loses to plain rounding" is false, in exact arithmetic.
#include <gtest/gtest.h>

#include <array>
#include <numeric>

#include "assay/rounding/gptq_sweep.h"
#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

/// Numerator over positive denominator, in lowest terms.
class Fraction {
 public:
  constexpr Fraction(std::int64_t numerator, std::int64_t denominator = 1) {
    const std::int64_t common = std::gcd(numerator, denominator) * (denominator < 0 ? -1 : 1);
    numerator_ = numerator / common;
    denominator_ = denominator / common;
  }
  friend Fraction operator+(const Fraction& a, const Fraction& b) {
    return {a.numerator_ * b.denominator_ + b.numerator_ * a.denominator_, a.denominator_ * b.denominator_};
  }
  friend Fraction operator-(const Fraction& a, const Fraction& b) { return a + Fraction(-1) * b; }
  friend Fraction operator*(const Fraction& a, const Fraction& b) {
    return {a.numerator_ * b.numerator_, a.denominator_ * b.denominator_};
  }
  friend bool operator==(const Fraction&, const Fraction&) = default;
  /// No tie occurs below.
  Fraction nearest() const {
    return std::llround(static_cast<double>(numerator_) / static_cast<double>(denominator_));
  }
  double value() const { return static_cast<double>(numerator_) / static_cast<double>(denominator_); }

 private:
  std::int64_t numerator_, denominator_;
};

using Row = std::array<Fraction, 3>;
const std::array<Row, 3> kMoments = {Row{1, 0, -1}, {0, 1, 1}, {-1, 1, 3}};
const std::array<Row, 3> kV = {Row{1, Fraction(1, 2), Fraction(-1, 3)}, {0, 1, Fraction(1, 3)}, {0, 0, 1}};
const Row kD = {Fraction(1, 2), Fraction(2, 3), 3};
const Row kWeights = {Fraction(-3, 10), Fraction(-2, 5), Fraction(1, 10)};

Fraction exact_loss(const Row& q) {
  Fraction loss = 0;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      loss = loss + (kWeights[i] - q[i]) * kMoments[i][j] * (kWeights[j] - q[j]);
  return loss;
}

TEST(CounterexampleTest, FeedbackLosesInExactArithmetic) {
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) {
      Fraction product = 0;
      for (std::size_t k = 0; k < 3; ++k) product = product + kV[i][k] * kD[k] * kV[j][k];
      EXPECT_EQ(product, kMoments[i][j]) << i << ", " << j;
    }
  EXPECT_EQ(kD[0] + kD[1] + kD[2], Fraction(25, 6));

  Row naive = kWeights, feedback = kWeights;
  for (Fraction& q : naive) q = q.nearest();
  EXPECT_EQ(exact_loss(naive), Fraction(13, 50));
  Fraction claimed = 0;
  for (std::size_t j = 0; j < 3; ++j) {
    Fraction work = kWeights[j];
    for (std::size_t i = 0; i < j; ++i) work = work + (kWeights[i] - feedback[i]) * kV[i][j];
    feedback[j] = work.nearest();
    claimed = claimed + kD[j] * (work - feedback[j]) * (work - feedback[j]);
  }
  EXPECT_EQ(feedback, (Row{0, -1, 0}));
  EXPECT_EQ(exact_loss(feedback), Fraction(33, 50));
  EXPECT_EQ(claimed, Fraction(33, 50));
}

/// Continued by the identity beyond three columns.
Hessian counterexample(std::size_t columns = 3) {
  Matrix moments = Matrix::Identity(index(columns), index(columns));
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) moments(index(i), index(j)) = kMoments[i][j].value();
  return to_hessian(moments);
}

TEST(CounterexampleTest, FactorIsTheExactOne) {
  const GptqFactor factor = factor_hessian(counterexample(), ColumnOrder::natural, 1, 0);
  EXPECT_EQ(factor.damping, 0);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(factor.d[i], kD[i].value(), 1e-14);
    for (std::size_t j = 0; j < 3; ++j) EXPECT_NEAR(factor.v[i * 3 + j], kV[i][j].value(), 1e-14);
  }
  EXPECT_NEAR(factor.predicted_gain, 5.0 / 6.0, 1e-14);
}

TEST(CounterexampleTest, SweepLosesOnIntegerRowsOfScaleOne) {
  for (const char* name : {"int8-row", "int4-row-f32"}) {
    Layer layer{find_format(name), 1, 3, {-0.3f, -0.4f, 0.1f}, {{{1.0f, 0.0f}}, std::vector<Code>(3)}};
    EXPECT_EQ(nearest_codes(layer), (std::vector<Code>{0, 0, 0}));
    EXPECT_NEAR(row_losses(errors(layer), to_matrix(counterexample()))(0), 13.0 / 50.0, 1e-6);
    const auto loss = sweep(layer, factor_hessian(counterexample(), ColumnOrder::natural, 1, 0));
    EXPECT_EQ(real_codes(layer), (std::vector<Code>{0, -1, 0}));
    EXPECT_NEAR(loss[0], 33.0 / 50.0, 1e-6);
    EXPECT_NEAR(row_losses(errors(layer), to_matrix(counterexample()))(0), 33.0 / 50.0, 1e-6);
  }
}

TEST(CounterexampleTest, SweepLosesAtEverySizeAboveTwo) {
  for (std::size_t columns = 3; columns <= 12; ++columns) {
    const Hessian hessian = counterexample(columns);
    Layer layer{find_format("int8-row"), 1, columns, {-0.3f, -0.4f, 0.1f}, {{{1.0f, 0.0f}}, {}}};
    layer.weights.resize(columns);
    layer.stored.codes.resize(columns);
    nearest_codes(layer);
    const auto loss = sweep(layer, factor_hessian(hessian, ColumnOrder::natural, 1, 0));
    EXPECT_NEAR(loss[0], 33.0 / 50.0, 1e-6) << columns;  // 13/50 by plain rounding
  }
}

TEST(CounterexampleTest, PositiveDefiniteNeedsNoDominantDiagonal) {
  Matrix moments(2, 2);
  moments << 1, 1.5, 1.5, 4;
  const GptqFactor factor = factor_hessian(to_hessian(moments), ColumnOrder::natural, 1, 0);
  EXPECT_EQ(factor.damping, 0);
  EXPECT_GT(factor.d[0], 0);
  EXPECT_GT(factor.d[1], 0);
}

// Between 1 and 2 the steps of a float of nine mantissa bits are 1/512.
TEST(CounterexampleTest, SweepLosesOnAFloatGrid) {
  Layer layer{find_format("gf16"), 1, 3, {}, {{}, std::vector<Code>(3)}};
  for (const Fraction& weight : kWeights)
    layer.weights.push_back(static_cast<float>(1.5 + weight.value() / 512));
  layer.stored = encode(*layer.format, layer.weights, 3);
  EXPECT_NEAR(row_losses(errors(layer), to_matrix(counterexample()))(0) * 0x1p18, 13.0 / 50.0, 1e-3);
  const auto loss = sweep(layer, factor_hessian(counterexample(), ColumnOrder::natural, 1, 0));
  EXPECT_NEAR(loss[0] * 0x1p18, 33.0 / 50.0, 1e-3);
  EXPECT_EQ(decode(*layer.format, layer.stored, 3)[1], 1.5f - 1.0f / 512);
}

}  // namespace
}  // namespace assay::test
