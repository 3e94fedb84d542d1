// Error feedback against what is true of it: the identity of its loss, the optimum it leaves after each
// column, bounds, expectations, orders, and an example where it loses to plain rounding.
#include "assay/rounding/gptq_sweep.h"

#include <algorithm>
#include <array>
#include <set>

#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

/// Formats of every kind and the widths they are tried at.
struct FormatCase {
  const char* name;
  std::vector<std::size_t> columns;
};
const std::vector<FormatCase>& format_cases() {
  static const std::vector<FormatCase> cases = {{"khq4", {1, 2, 3, 7, 32, 33, 64}},
                                                {"khw3", {1, 5, 20, 33, 64}},
                                                {"mlx2-g32-bf16", {32, 64}},
                                                {"mlx2-g64-f16", {64}},
                                                {"mlx3-g32-f16", {32, 64}},
                                                {"mlx3-g64-bf16", {64}},
                                                {"mlx4-g32-f32", {32, 64}},
                                                {"mlx4-g64-bf16", {64}},
                                                {"q8_0", {32, 64}},
                                                {"q4_0", {32, 64}},
                                                {"int6-row", {1, 2, 6, 17, 64}},
                                                {"int6-row-sdclip", {2, 9, 64}},
                                                {"gf16", {1, 4, 13, 64}}};
  return cases;
}

/// Calls check(layer, hessian, factor, fit, what) for all formats, inputs, orders and ways to fit; 1 to 16
/// rows.
template <class Check>
void for_each_sweep(const Check& check) {
  unsigned seed = 1;
  for (const FormatCase& format_case : format_cases())
    for (const std::size_t columns : format_case.columns)
      for (const Inputs kind : kAllInputs)
        for (const ColumnOrder order : {ColumnOrder::natural, ColumnOrder::activation, ColumnOrder::groups}) {
          const FormatPtr format = find_format(format_case.name);
          ASSERT_NE(format, nullptr) << format_case.name;
          const std::size_t run = format->layout(columns).run, group = columns % run == 0 ? run : 1;
          const Hessian hessian = random_hessian(kind, columns, seed);
          const GptqFactor factor = factor_hessian(hessian, order, group, 0.01);
          for (const GroupFit fit : {GroupFit::kept, GroupFit::on_start}) {
            if (fit == GroupFit::on_start && !fits_groups(*format, columns, order)) continue;
            Layer layer = random_layer(format, 1 + seed % 16, columns, seed);
            check(layer, hessian, factor, fit,
                  format->name() + " of " + std::to_string(columns) + ", " + input_name(kind) + ", order " +
                      std::to_string(static_cast<int>(order)) +
                      (fit == GroupFit::kept ? ", kept" : ", on start"));
          }
          ++seed;
        }
}

// ---- The loss that the sweep adds up, whatever the rounding, is that of the stored bytes on the damped
// ---- Hessian; on the undamped one it is smaller by lambda |e|^2.
TEST(GptqSweepTest, LossIsThatOfTheStoredBytesUnderTheDampedHessian) {
  for_each_sweep([](Layer& layer, const Hessian& hessian, const GptqFactor& factor, GroupFit fit,
                    const std::string& what) {
    std::vector<double> loss(layer.rows, 0.5);  // what is there is added to
    gptq_sweep(layer.panel(), factor, fit, {}, loss);
    const Matrix e = errors(layer), moments = to_matrix(hessian);
    const double lambda = absolute_damping(hessian, factor);
    EXPECT_GT(lambda, 0) << what;
    const Eigen::VectorXd undamped = row_losses(e, moments);
    const Eigen::VectorXd terms = row_losses(e.cwiseAbs(), moments.cwiseAbs());  // what may cancel
    for (std::size_t r = 0; r < layer.rows; ++r) {
      const double found = loss[r] - 0.5, squares = e.row(index(r)).squaredNorm();
      ASSERT_NEAR(found - lambda * squares, undamped(index(r)), 1e-11 * (0.5 + terms(index(r))))
          << what << ", row " << r;
    }
  });
}

/// Weights of the free columns that minimise the loss once the first `done` have errors e (all in processing
/// order), by dense solution of the quadratic: w_F + e_D H_DF H_FF^-1.
Eigen::RowVectorXd relaxed_tail(const Matrix& moments, const Eigen::RowVectorXd& weights,
                                const Eigen::RowVectorXd& e, Eigen::Index done) {
  const Eigen::Index free = moments.rows() - done;
  const Eigen::RowVectorXd pull = e.head(done) * moments.topRightCorner(done, free);
  return weights.tail(free) +
         moments.bottomRightCorner(free, free).ldlt().solve(pull.transpose()).transpose();
}

/// The least loss that errors of the first columns can end with.
double relaxed_loss(const Matrix& moments, const Eigen::RowVectorXd& e, Eigen::Index done) {
  const Eigen::Index free = moments.rows() - done;
  const Eigen::RowVectorXd head = e.head(done);
  const Eigen::RowVectorXd pull = head * moments.topRightCorner(done, free);
  double loss = (head * moments.topLeftCorner(done, done) * head.transpose())(0);
  if (free > 0)
    loss -= pull.dot(moments.bottomRightCorner(free, free).ldlt().solve(pull.transpose()).transpose());
  return loss;
}

/// One row of a layer in processing order.
Eigen::RowVectorXd row_in_order(const Matrix& values, std::size_t row,
                                const std::vector<std::uint32_t>& order) {
  Eigen::RowVectorXd result(values.cols());
  for (std::size_t p = 0; p < order.size(); ++p) result(index(p)) = values(index(row), order[p]);
  return result;
}

Matrix weight_matrix(const Layer& layer) {
  return errors(layer.weights, std::vector<float>(layer.weights.size()), layer.columns);
}

TEST(GptqSweepTest, EveryColumnIsRoundedFromTheOptimumOfTheColumnsLeft) {
  for (std::size_t n = 1; n <= 12; ++n)
    for (const Inputs kind : kAllInputs)
      for (const ColumnOrder order : {ColumnOrder::natural, ColumnOrder::activation}) {
        const unsigned seed = static_cast<unsigned>(100 * n) + static_cast<unsigned>(kind);
        const Hessian hessian = random_hessian(kind, n, seed);
        const GptqFactor factor = factor_hessian(hessian, order, 1, 0.01);
        const Matrix moments = permuted(damped(hessian, factor), factor.order);
        Layer layer = random_layer(find_format("int4-row"), 6, n, seed);
        sweep(layer, factor);
        const Matrix e = errors(layer), weights = weight_matrix(layer);
        for (std::size_t r = 0; r < layer.rows; ++r) {
          const Eigen::RowVectorXd row = row_in_order(weights, r, factor.order),
                                   lost = row_in_order(e, r, factor.order);
          for (std::size_t j = 0; j < n; ++j) {
            const Eigen::RowVectorXd tail = relaxed_tail(moments, row, lost, index(j));
            // The rest of the tail follows from the factor: x_k = work_k + sum of free (w_i - x_i) V_ik.
            for (std::size_t k = j; k < n; ++k) {
              double x = row(index(k));
              for (std::size_t i = 0; i < k; ++i)
                x += (i < j ? lost(index(i)) : row(index(i)) - tail(index(i - j))) * factor.v[i * n + k];
              ASSERT_NEAR(x, tail(index(k - j)), 1e-9 * (1 + std::abs(x))) << "n " << n << ", step " << j;
            }
            // The code of the column is the nearest to it, or next to a tie.
            const float target = static_cast<float>(tail(0));
            const Code chosen = layer.stored.codes[r * n + factor.order[j]];
            const float scale = layer.stored.params[r].scale;
            const float position = std::clamp(target / scale, -7.0f, 7.0f);
            EXPECT_LE(std::abs(position - static_cast<float>(chosen)), 0.5f + 1e-5f)
                << "n " << n << ", " << input_name(kind) << ", row " << r << ", step " << j;
          }
        }
      }
}

TEST(GptqSweepTest, FactorsAreSchurComplements) {
  for (const Inputs kind : kAllInputs) {
    constexpr std::size_t n = 12;
    const Hessian hessian = random_hessian(kind, n, 5);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::activation, 1, 0.02);
    EXPECT_EQ(factor.damping, 0.02);
    const Matrix moments = permuted(damped(hessian, factor), factor.order);
    Matrix v(index(n), index(n));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        v(index(i), index(j)) = factor.v[i * n + j];
        if (j <= i) {
          EXPECT_EQ(factor.v[i * n + j], j == i ? 1.0 : 0.0);
        }
      }
    const Eigen::Map<const Eigen::VectorXd> d(factor.d.data(), index(n));
    EXPECT_LT((v * d.asDiagonal() * v.transpose() - moments).cwiseAbs().maxCoeff(),
              1e-12 * moments.cwiseAbs().maxCoeff());
    EXPECT_LE(d.sum(), moments.trace() * (1 + 1e-12)) << input_name(kind);
    for (std::size_t j = 0; j < n; ++j) {
      const Eigen::Index free = index(n - j);
      const Matrix inverse = moments.bottomRightCorner(free, free).inverse();
      EXPECT_NEAR(factor.d[j], 1 / inverse(0, 0), 1e-9 * factor.d[j]) << input_name(kind) << " " << j;
    }
  }
}

TEST(GptqSweepTest, NoOtherCodeLeavesALowerOptimum) {
  for (const Inputs kind : kAllInputs) {
    constexpr std::size_t n = 8;
    const Hessian hessian = random_hessian(kind, n, 21);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::natural, 1, 0.01);
    const Matrix moments = damped(hessian, factor);
    Layer layer = random_layer(find_format("int3-row"), 5, n, 22);
    sweep(layer, factor);
    const Matrix e = errors(layer), weights = weight_matrix(layer);
    for (std::size_t r = 0; r < layer.rows; ++r)
      for (std::size_t j = 0; j < n; ++j) {
        Eigen::RowVectorXd lost = e.row(index(r));
        const double chosen = relaxed_loss(moments, lost, index(j + 1));
        for (int code = -3; code <= 3; ++code) {
          lost(index(j)) =
              weights(index(r), index(j)) - static_cast<double>(layer.stored.params[r].scale) * code;
          EXPECT_GE(relaxed_loss(moments, lost, index(j + 1)), chosen * (1 - 1e-6))
              << input_name(kind) << ", row " << r << ", step " << j << ", code " << code;
        }
      }
  }
}

// ---- Against plain rounding.

Matrix naive_errors(const Layer& layer) {
  Layer naive = layer;
  naive.stored.codes = nearest_codes(layer);
  return grid_errors(naive);
}

/// Rows of random layers of two columns where feedback loses to plain rounding, of 4000.
int losing_rows(Grid::Rounding rounding) {
  int losing = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    const Hessian hessian = random_hessian(Inputs::independent, 2, seed);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::natural, 1, 0);
    EXPECT_EQ(factor.damping, 0);
    Layer layer = grid_layer(40, 2, seed, rounding);
    const Eigen::VectorXd naive = row_losses(naive_errors(layer), to_matrix(hessian));
    const std::vector<double> loss = sweep(layer, factor);
    for (std::size_t r = 0; r < layer.rows; ++r)
      losing += loss[r] > naive(index(r)) * (1 + 1e-6) + 1e-12 ? 1 : 0;
  }
  return losing;
}

TEST(GptqSweepTest, TwoColumnsNeverLoseToNearestRounding) {
  EXPECT_EQ(losing_rows(Grid::Rounding::nearest), 0);
}

TEST(GptqSweepTest, TruncationBreaksTheDominanceOfTwoColumns) {
  EXPECT_GT(losing_rows(Grid::Rounding::toward_zero), 40);
}

TEST(GptqSweepTest, LastColumnBeatsItsNearestValue) {
  for (const Inputs kind : kAllInputs) {
    constexpr std::size_t n = 9;
    const Hessian hessian = random_hessian(kind, n, 31);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::natural, 1, 0.01);
    Layer layer = grid_layer(50, n, 32);
    sweep(layer, factor);
    const Eigen::VectorXd loss = row_losses(grid_errors(layer), damped(hessian, factor));
    Layer other = layer;
    for (std::size_t r = 0; r < layer.rows; ++r)
      other.stored.codes[r * n + n - 1] = static_cast<Code>(std::nearbyint(layer.weights[r * n + n - 1]));
    const Eigen::VectorXd naive_end = row_losses(grid_errors(other), damped(hessian, factor));
    for (std::size_t r = 0; r < layer.rows; ++r)
      EXPECT_LE(loss(index(r)), naive_end(index(r)) * (1 + 1e-6)) << input_name(kind) << ", row " << r;
  }
}

double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

TEST(GptqSweepTest, WorstCaseIsAQuarterStepOfEveryFactor) {
  for (const std::size_t n : {1u, 2u, 11u, 64u})
    for (const Inputs kind : kAllInputs) {
      const Hessian hessian = random_hessian(kind, n, static_cast<unsigned>(40 + n));
      const GptqFactor factor = factor_hessian(hessian, ColumnOrder::groups, 1, 0.01);
      const Matrix moments = damped(hessian, factor);
      const double trace = moments.trace();
      if (moments.isDiagonal()) {
        EXPECT_NEAR(sum(factor.d), trace, 1e-12 * trace) << input_name(kind) << " " << n;
      } else {
        EXPECT_LT(sum(factor.d), trace * (1 - 1e-6)) << input_name(kind) << " " << n;
      }
      EXPECT_NEAR(factor.predicted_gain, sum(factor.d) / trace, 1e-12);
      Layer layer = grid_layer(16, n, 41);
      for (const double loss : sweep(layer, factor)) EXPECT_LE(loss, 0.25 * sum(factor.d) * (1 + 1e-6));
    }
}

// With subtractive dither every column's error is uniform whatever it is given to round, so both expectations
// are exact: a twelfth of a squared step times sum D, or times tr H for plain rounding.
TEST(GptqSweepTest, DitheredLossIsATwelfthOfTheFactors) {
  constexpr std::size_t kRows = 4000, n = 16;
  for (const Inputs kind : kAllInputs) {
    const Hessian hessian = random_hessian(kind, n, 51);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::activation, 1, 0.01);
    const Matrix moments = damped(hessian, factor);
    Layer layer = grid_layer(kRows, n, 52);
    std::mt19937 generator(53);
    std::uniform_real_distribution<float> dither(-0.5f, 0.5f);
    for (Params& params : layer.stored.params) params.bias = dither(generator);
    const double naive = row_losses(naive_errors(layer), moments).mean();
    const double feedback = sum(sweep(layer, factor)) / kRows;
    // A row's loss is a sum of D_j u_j^2, each u_j^2 of variance 1/180.
    double variance = 0;
    for (const double d : factor.d) variance += d * d / 180;
    EXPECT_NEAR(feedback, sum(factor.d) / 12, 5 * std::sqrt(variance / kRows)) << input_name(kind);
    // e H e^T of independent uniform e: the variance of the squares and of the products.
    double naive_variance = moments.diagonal().squaredNorm() / 180;
    for (Eigen::Index i = 0; i < moments.rows(); ++i)
      for (Eigen::Index j = 0; j < i; ++j) naive_variance += 4 * moments(i, j) * moments(i, j) / 144;
    EXPECT_NEAR(naive, moments.trace() / 12, 5 * std::sqrt(naive_variance / kRows)) << input_name(kind);
    EXPECT_LE(feedback, naive * (1 + 1e-6)) << input_name(kind);
  }
}

TEST(GptqSweepTest, PredictedGainIsWhatAFineGridSees) {
  constexpr std::size_t kRows = 256, n = 64;
  for (const Inputs kind : kAllInputs) {
    const Hessian hessian = random_hessian(kind, n, 61);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::activation, 1, 0.01);
    const Matrix moments = damped(hessian, factor);
    Layer layer = grid_layer(kRows, n, 62);
    const double naive = row_losses(naive_errors(layer), moments).sum();
    EXPECT_NEAR(sum(sweep(layer, factor)) / naive, factor.predicted_gain, 0.1 * factor.predicted_gain)
        << input_name(kind);
  }
}

// ---- Nothing to feed back: the codes are those of plain rounding under the same parameters.
TEST(GptqSweepTest, UncorrelatedInputsChangeNoCode) {
  for (const FormatCase& format_case : format_cases())
    for (const std::size_t columns : format_case.columns)
      for (const bool equal : {true, false})
        for (const ColumnOrder order : {ColumnOrder::natural, ColumnOrder::activation, ColumnOrder::groups})
          for (const GroupFit fit : {GroupFit::kept, GroupFit::on_start}) {
            const FormatPtr format = find_format(format_case.name);
            if (fit == GroupFit::on_start && !fits_groups(*format, columns, order)) continue;
            const std::size_t run = format->layout(columns).run, group = columns % run == 0 ? run : 1;
            const Matrix moments = equal ? Matrix(3.0 * Matrix::Identity(index(columns), index(columns)))
                                         : random_second_moments(Inputs::diagonal, columns, 70);
            Layer layer = random_layer(format, 7, columns, 71);
            sweep(layer, factor_hessian(to_hessian(moments), order, group, 0.01), fit);
            EXPECT_EQ(real_codes(layer), nearest_codes(layer)) << format->name() << " of " << columns;
          }
}

// ---- Against the sweep as it is written in a book: one column after the other, every sum from the start,
// ---- groups fitted to the dense solution.
void plain_sweep(Layer& layer, const Hessian& hessian, const GptqFactor& factor, GroupFit fit) {
  const std::size_t n = layer.columns, run = layer.format->layout(n).run;
  const Matrix moments = permuted(damped(hessian, factor), factor.order), weights = weight_matrix(layer);
  for (std::size_t r = 0; r < layer.rows; ++r) {
    const Eigen::RowVectorXd row = row_in_order(weights, r, factor.order);
    Eigen::RowVectorXd lost = Eigen::RowVectorXd::Zero(index(n));
    for (std::size_t p = 0; p < n; ++p) {
      const std::size_t column = factor.order[p];
      const std::size_t unit = (r * n + column) / run;
      if (fit == GroupFit::on_start && p % run == 0) {
        const Eigen::RowVectorXd tail = relaxed_tail(moments, row, lost, index(p));
        std::vector<float> values(run), importance(run);
        for (std::size_t i = 0; i < run; ++i) {
          values[factor.order[p + i] % run] = static_cast<float>(tail(index(i)));
          importance[factor.order[p + i] % run] = static_cast<float>(factor.d[p + i]);
        }
        search_params(*layer.format, values, importance, {&layer.stored.params[unit], 1});
      }
      double work = row(index(p));
      for (std::size_t i = 0; i < p; ++i) work += lost(index(i)) * factor.v[i * n + p];
      const auto value = static_cast<float>(work);
      float stored = 0;
      const std::size_t params = layer.stored.params.empty() ? 0 : 1;
      layer.format->round({&layer.stored.params[unit], params}, {&value, 1},
                          {&layer.stored.codes[r * n + column], 1}, {&stored, 1});
      lost(index(p)) = row(index(p)) - static_cast<double>(stored);
    }
  }
}

bool same_params(const std::vector<Params>& a, const std::vector<Params>& b) {
  return std::ranges::equal(a, b, [](const Params& x, const Params& y) {
    return same_bits(x.scale, y.scale) && same_bits(x.bias, y.bias);
  });
}

TEST(GptqSweepTest, BlocksGiveWhatOneColumnAtATimeGives) {
  struct Case {
    const char* format;
    std::size_t columns;
    ColumnOrder order;
    GroupFit fit;
  };
  unsigned seed = 80;
  for (const Case& c : {Case{"khq4", 288, ColumnOrder::groups, GroupFit::on_start},
                        {"khw3", 300, ColumnOrder::activation, GroupFit::kept},
                        {"mlx2-g64-bf16", 320, ColumnOrder::groups, GroupFit::on_start},
                        {"mlx4-g128-f32", 384, ColumnOrder::natural, GroupFit::on_start},
                        {"q4_0", 160, ColumnOrder::groups, GroupFit::on_start},
                        {"int6-row", 129, ColumnOrder::activation, GroupFit::kept},
                        {"int4-row-f32", 257, ColumnOrder::natural, GroupFit::kept}})
    for (const Inputs kind : {Inputs::correlated, Inputs::low_rank}) {
      const FormatPtr format = find_format(c.format);
      const std::size_t group = c.fit == GroupFit::on_start ? format->layout(c.columns).run : 1;
      const Hessian hessian = random_hessian(kind, c.columns, ++seed);
      const GptqFactor factor = factor_hessian(hessian, c.order, group, 0.01);
      Layer blocked = random_layer(format, 5, c.columns, seed), plain = blocked;
      const std::vector<Code> before = real_codes(blocked);
      sweep(blocked, factor, c.fit);
      plain_sweep(plain, hessian, factor, c.fit);
      EXPECT_NE(real_codes(blocked), before);
      EXPECT_EQ(real_codes(blocked), real_codes(plain)) << c.format << ", " << input_name(kind);
      EXPECT_TRUE(same_params(blocked.stored.params, plain.stored.params)) << c.format;
    }
}

TEST(GptqSweepTest, RowsDoNotKnowOfEachOther) {
  constexpr std::size_t kRows = 9, kColumns = 160;
  const Hessian hessian = random_hessian(Inputs::correlated, kColumns, 90);
  const GptqFactor factor = factor_hessian(hessian, ColumnOrder::groups, 32, 0.01);
  Layer all = random_layer(find_format("khq4"), kRows, kColumns, 91);
  Layer one{all.format, 1, kColumns, {}, {}};
  one.weights.assign(all.weights.begin() + 4 * kColumns, all.weights.begin() + 5 * kColumns);
  one.stored = encode(*one.format, one.weights, kColumns);
  sweep(all, factor, GroupFit::on_start);
  sweep(one, factor, GroupFit::on_start);
  EXPECT_TRUE(
      std::equal(one.stored.codes.begin(), one.stored.codes.end(), all.stored.codes.begin() + 4 * kColumns));
}

TEST(GptqSweepTest, PaddingGetsTheCodeOfZero) {
  for (const char* name : {"khq4", "khw3", "khq4-sym"}) {
    Layer layer = random_layer(find_format(name), 5, 33, 92);  // 165 weights: 27 of the last 32 are padding
    std::fill(layer.stored.codes.begin() + 165, layer.stored.codes.end(), -77);
    sweep(layer,
          factor_hessian(random_hessian(Inputs::correlated, 33, 93), ColumnOrder::activation, 1, 0.01));
    const std::vector<Params> params(1, layer.stored.params.back());
    Code zero = 0;
    float ignored = 0;
    const float value = 0;
    layer.format->round(params, {&value, 1}, {&zero, 1}, {&ignored, 1});
    EXPECT_EQ(layer.stored.codes.size(), 192u);
    for (std::size_t i = 165; i < 192; ++i) EXPECT_EQ(layer.stored.codes[i], zero) << name << " " << i;
  }
}

// ---- Orders.

TEST(ColumnOrderTest, ActivationFallsAndTiesKeepTheirPlaces) {
  Matrix moments = Matrix::Zero(7, 7);
  moments.diagonal() << 1, 5, 2, 5, 0, 2, 9;
  const Hessian hessian = to_hessian(moments);
  using Order = std::vector<std::uint32_t>;
  EXPECT_EQ(column_order(hessian, ColumnOrder::activation, 1), (Order{6, 1, 3, 2, 5, 0, 4}));
  EXPECT_EQ(column_order(hessian, ColumnOrder::natural, 1), (Order{0, 1, 2, 3, 4, 5, 6}));
}

TEST(ColumnOrderTest, GroupsStayTogetherAndFallBySum) {
  Matrix moments = Matrix::Zero(6, 6);
  moments.diagonal() << 1, 2, 9, 0, 4, 6;  // sums 3, 9, 10: not in the order of the largest
  const Hessian hessian = to_hessian(moments);
  EXPECT_EQ(column_order(hessian, ColumnOrder::groups, 2), (std::vector<std::uint32_t>{5, 4, 2, 3, 1, 0}));
  for (const Inputs kind : kAllInputs) {
    const Hessian wide = random_hessian(kind, 96, 3);
    const auto order = column_order(wide, ColumnOrder::groups, 32);
    const std::vector<double> diagonal = wide.diagonal();
    for (std::size_t p = 0; p < 96; ++p) {
      EXPECT_EQ(order[p] / 32, order[p / 32 * 32] / 32) << input_name(kind);
      if (p % 32 != 0) {
        EXPECT_GE(diagonal[order[p - 1]], diagonal[order[p]]) << input_name(kind);
      }
    }
    EXPECT_EQ(std::set<std::uint32_t>(order.begin(), order.end()).size(), 96u);
  }
}

// Sorting the columns first, sweeping in natural order and putting the codes back is the same thing.
TEST(ColumnOrderTest, SortedProblemsHaveTheSameCodes) {
  constexpr std::size_t kRows = 6, kColumns = 140;
  for (const Inputs kind : kAllInputs) {
    const Hessian hessian = random_hessian(kind, kColumns, 95);
    const GptqFactor factor = factor_hessian(hessian, ColumnOrder::activation, 1, 0.01);
    Layer layer = random_layer(find_format("int5-row"), kRows, kColumns, 96), sorted = layer;
    for (std::size_t i = 0; i < layer.weights.size(); ++i)
      sorted.weights[i] = layer.weights[i / kColumns * kColumns + factor.order[i % kColumns]];
    sweep(layer, factor);
    sweep(sorted, factor_hessian(to_hessian(permuted(to_matrix(hessian), factor.order)), ColumnOrder::natural,
                                 1, 0.01));
    for (std::size_t i = 0; i < layer.weights.size(); ++i)
      ASSERT_EQ(sorted.stored.codes[i],
                layer.stored.codes[i / kColumns * kColumns + factor.order[i % kColumns]])
          << input_name(kind) << ", weight " << i;
  }
}

// ---- Damping.

TEST(DampingTest, IsInPartsOfTheColumnsThatWereSeen) {
  Matrix moments = Matrix::Zero(4, 4);
  moments.diagonal() << 1e-4, 0, 3e-4, 0;
  const GptqFactor factor = factor_hessian(to_hessian(moments), ColumnOrder::natural, 1, 0.5);
  EXPECT_NEAR(factor.d[0], 1e-4 + 0.5 * 2e-4, 1e-18);
  EXPECT_NEAR(factor.d[1], 0.5 * 2e-4, 1e-18);
}

TEST(DampingTest, IsRaisedTenfoldUntilThereIsAFactorAndSaid) {
  const Matrix thin = random_matrix(3, 10, 1);
  const GptqFactor exact = factor_hessian(to_hessian(Matrix::Identity(10, 10)), ColumnOrder::natural, 1, 0);
  EXPECT_EQ(exact.damping, 0);
  Matrix moments = thin.transpose() * thin;
  moments.diagonal().array() -= 0.03 * moments.diagonal().mean();  // no rounding noise makes this positive
  EXPECT_NEAR(factor_hessian(to_hessian(moments), ColumnOrder::natural, 1, 0.001).damping, 0.1, 1e-12);
  EXPECT_NEAR(factor_hessian(to_hessian(moments), ColumnOrder::natural, 1, 0).damping, 0.1, 1e-12);
  EXPECT_EQ(factor_hessian(to_hessian(moments), ColumnOrder::natural, 1, 0.25).damping, 0.25);
}

TEST(DampingTest, HopelessHessiansAreRefusedByName) {
  Matrix moments(2, 2);
  moments << 1, 5, 5, 1;
  EXPECT_ERROR(factor_hessian(to_hessian(moments), ColumnOrder::natural, 1, 0.01), "2 x 2 Hessian",
               "not positive definite");
  EXPECT_ERROR(factor_hessian(to_hessian(Matrix::Zero(3, 3)), ColumnOrder::natural, 1, 0.01), "mean square");
}

}  // namespace
}  // namespace assay::test
