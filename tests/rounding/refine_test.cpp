// Refitting parameters and descending along coordinates.
#include "assay/rounding/refine.h"

#include <algorithm>

#include "tests/rounding/random_layers.h"

namespace assay::test {
namespace {

TEST(RefineTest, NoStepRaisesTheLossOfARow) {
  for (const Inputs kind : kAllInputs)
    for (const auto& [name, rows, columns] :
         {std::tuple{"khq4", 5u, 128u},
          {"khw3", 6u, 33u},
          {"mlx2-g64-bf16", 4u, 192u},
          {"mlx8-g64-bf16", 9u, 128u},  // parameters coarser than what there is to gain
          {"q4_0", 4u, 96u},
          {"khq4-sym", 4u, 96u},
          {"int3-row", 7u, 90u},
          {"int6-row-sdclip", 4u, 70u},
          {"gf16", 4u, 70u}}) {
      Layer layer = plainly_rounded(name, rows, columns, 18);
      const Hessian hessian = random_hessian(kind, columns, 19);
      Eigen::VectorXd before = row_losses(errors(layer), to_matrix(hessian));
      for (int round = 0; round < 3; ++round)
        for (const bool parameters : {true, false}) {
          if (parameters)
            refit_parameters(layer.panel(), hessian);
          else
            descend_coordinates(layer.panel(), hessian);
          const Eigen::VectorXd after = row_losses(errors(layer), to_matrix(hessian));
          for (Eigen::Index r = 0; r < after.size(); ++r)
            EXPECT_LE(after(r), before(r) * (1 + 1e-10))
                << name << ", " << input_name(kind) << (parameters ? ", refit" : ", descent") << " " << round;
          before = after;
        }
    }
}

// A format may round to another code than the nearest: each move is judged by what it does to the loss.
TEST(RefineTest, DescentTakesNoMoveThatLoses) {
  for (const Inputs kind : kAllInputs) {
    Layer layer = grid_layer(20, 30, 40, Grid::Rounding::toward_zero);
    layer.stored.codes = nearest_codes(layer);
    const Matrix moments = random_second_moments(kind, 30, 41);
    Eigen::VectorXd before = row_losses(grid_errors(layer), moments);
    const double first = before.sum();
    for (int round = 0; round < 3; ++round) {
      descend_coordinates(layer.panel(), to_hessian(moments));
      const Eigen::VectorXd after = row_losses(grid_errors(layer), moments);
      for (Eigen::Index r = 0; r < after.size(); ++r)
        EXPECT_LE(after(r), before(r) * (1 + 1e-10)) << input_name(kind) << ", row " << r;
      before = after;
    }
    if (kind != Inputs::diagonal) {
      EXPECT_LT(before.sum(), 0.9 * first) << input_name(kind);
    }
  }
}

// Wide enough for two blocks of columns.
TEST(RefineTest, DescentEndsWhereNoSingleCodeCanMove) {
  for (const Inputs kind : kAllInputs)
    for (const std::size_t columns : {10u, 70u}) {
      constexpr std::size_t kRows = 4;
      Layer layer = plainly_rounded("int3-row", kRows, columns, 20);
      const Hessian hessian = random_hessian(kind, columns, 21);
      const Matrix moments = to_matrix(hessian);
      const double first = row_losses(errors(layer), moments).sum();
      for (int round = 0; round < 40; ++round) descend_coordinates(layer.panel(), hessian);
      const Eigen::VectorXd loss = row_losses(errors(layer), moments);
      if (kind != Inputs::diagonal) {
        EXPECT_LT(loss.sum(), 0.95 * first) << input_name(kind);
      }
      for (std::size_t i = 0; i < layer.weights.size(); ++i)
        for (Code code = -3; code <= 3; ++code) {
          Layer other = layer;
          other.stored.codes[i] = code;
          const Eigen::Index row = index(i / columns);
          const Matrix e =
              errors(other.weights, decode(*other.format, other.stored, other.weights.size()), columns);
          const double moved = (e.row(row) * moments * e.row(row).transpose())(0);
          ASSERT_GE(moved, loss(row) * (1 - 1e-9))
              << input_name(kind) << ", weight " << i << ", code " << code;
        }
    }
}

/// The least loss of a row that its codes allow, over all scales and, where they are free, biases.
double least_loss(const Layer& layer, const Matrix& moments, std::size_t row) {
  const AffineView view = *layer.format->affine();
  const std::size_t n = layer.columns, run = layer.format->layout(n).run, groups = n / run;
  Matrix design = Matrix::Zero(index(n), index(view.free_bias ? 2 * groups : groups));
  Eigen::VectorXd weights(index(n));
  for (std::size_t c = 0; c < n; ++c) {
    design(index(c), index(c / run)) = static_cast<double>(layer.stored.codes[row * n + c] - view.zero) +
                                       (view.free_bias ? 0.0 : static_cast<double>(view.bias_per_scale));
    if (view.free_bias) design(index(c), index(groups + c / run)) = 1;
    weights(index(c)) = layer.weights[row * n + c];
  }
  const Matrix root = moments.llt().matrixU();
  const Eigen::VectorXd best = (root * design).colPivHouseholderQr().solve(root * weights);
  return (root * (weights - design * best)).squaredNorm();
}

TEST(RefineTest, RefittingReachesTheLeastSquaresOfAllParameters) {
  for (const Inputs kind : {Inputs::independent, Inputs::correlated, Inputs::diagonal, Inputs::blocks})
    for (const auto& [name, columns, slack] : {std::tuple{"mlx4-g32-f32", 128u, 1e-5},
                                               {"mlx2-g64-f32", 192u, 1e-5},
                                               {"int5-row-f32", 60u, 1e-5},
                                               {"khq4", 96u, 1e-2},
                                               {"khq4-sym", 96u, 1e-2},
                                               {"q4_0", 96u, 1e-2}}) {
      constexpr std::size_t kRows = 5;
      Layer layer = plainly_rounded(name, kRows, columns, 22);
      for (Params& params : layer.stored.params)
        params = *layer.format->store(params.scale * 1.04f, params.bias * 0.97f);
      const Hessian hessian = random_hessian(kind, columns, 23);
      const Matrix moments = to_matrix(hessian);
      const Eigen::VectorXd before = row_losses(errors(layer), moments);
      refit_parameters(layer.panel(), hessian);
      const Eigen::VectorXd after = row_losses(errors(layer), moments);
      for (std::size_t r = 0; r < kRows; ++r) {
        EXPECT_LT(after(index(r)), 0.99 * before(index(r))) << name << ", " << input_name(kind);
        EXPECT_LT(after(index(r)), least_loss(layer, moments, r) * (1 + slack))
            << name << ", " << input_name(kind) << ", row " << r;
      }
    }
}

TEST(RefineTest, ParametersOfAPublishedClipRuleStay) {
  Layer layer = plainly_rounded("int6-row-sdclip", 5, 64, 24);
  const std::vector<Params> before = layer.stored.params;
  refit_parameters(layer.panel(), random_hessian(Inputs::correlated, 64, 25));
  for (std::size_t r = 0; r < 5; ++r) EXPECT_EQ(layer.stored.params[r].scale, before[r].scale);
}

}  // namespace
}  // namespace assay::test
