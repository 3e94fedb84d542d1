#include "assay/rounding/refine.h"

#include <cblas.h>

#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Cholesky>
#include <algorithm>
#include <cassert>

namespace assay {
namespace {

constexpr std::size_t kGradientBlock = 64;  // columns between two updates of the whole gradient
constexpr double kRidge = 1e-8;             // of the mean diagonal: groups without inputs stay where they are
constexpr double kLeastGain = 1e-12;        // relative: what is smaller is rounding noise of the sums

/// c[m, n] += a[m, k] * b[k, n], row-major, strides given.
void multiply_add(std::size_t m, std::size_t n, std::size_t k, const double* a, std::size_t a_stride,
                  bool a_transposed, const double* b, std::size_t b_stride, double* c, std::size_t c_stride,
                  double keep) {
  cblas_dgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, static_cast<int>(m),
              static_cast<int>(n), static_cast<int>(k), 1.0, a, static_cast<int>(a_stride), b,
              static_cast<int>(b_stride), keep, c, static_cast<int>(c_stride));
}

bool units_within_rows(const Panel& panel) {
  return panel.layout.share != Share::run_flat || panel.columns % panel.layout.run == 0;
}

}  // namespace

PanelError::PanelError(const Panel& panel, const Hessian& hessian)
    : error(panel.rows * panel.columns), gradient(error.size()), rows_(panel.rows), columns_(panel.columns) {
  std::vector<float> stored(error.size());
  panel.format.decode(panel.params, panel.codes, stored);
  for (std::size_t i = 0; i < error.size(); ++i)
    error[i] = static_cast<double>(panel.weights[i]) - static_cast<double>(stored[i]);
  multiply_add(rows_, columns_, columns_, error.data(), columns_, false, hessian.values.data(), columns_,
               gradient.data(), columns_, 0.0);
}

std::vector<double> PanelError::row_loss() const {
  std::vector<double> loss(rows_);
  for (std::size_t r = 0; r < rows_; ++r)
    for (std::size_t c = 0; c < columns_; ++c)
      loss[r] += error[r * columns_ + c] * gradient[r * columns_ + c];
  return loss;
}

std::vector<double> PanelError::row_squares() const {
  std::vector<double> squares(rows_);
  for (std::size_t r = 0; r < rows_; ++r)
    for (std::size_t c = 0; c < columns_; ++c)
      squares[r] += error[r * columns_ + c] * error[r * columns_ + c];
  return squares;
}

void refit_parameters(const Panel& panel, const Hessian& hessian) {
  const auto view = panel.format.affine();
  if (!view || !view->searchable || !units_within_rows(panel)) return;
  const std::size_t columns = panel.columns, rows = panel.rows, run = panel.layout.run,
                    groups = columns / run;
  const std::size_t unknowns = view->free_bias ? 2 * groups : groups;
  const PanelError before(panel, hessian);

  // How a weight moves with its group's scale; with the bias, where it is free, it moves one to one.
  std::vector<double> slope(rows * columns);
  for (std::size_t i = 0; i < slope.size(); ++i)
    slope[i] = static_cast<double>(panel.codes[i] - view->zero) +
               (view->free_bias ? 0.0 : static_cast<double>(view->bias_per_scale));

  // Normal equations of every row, unknowns: all scales, then all biases. Each group's slopes meet H once.
  std::vector<Eigen::MatrixXd> normal(
      rows, Eigen::MatrixXd::Zero(static_cast<Eigen::Index>(unknowns), static_cast<Eigen::Index>(unknowns)));
  std::vector<double> bias_sums;  // [groups, columns]: rows of H added up by group
  if (view->free_bias) {
    bias_sums.assign(groups * columns, 0.0);
    for (std::size_t i = 0; i < columns; ++i)
      for (std::size_t j = 0; j < columns; ++j) bias_sums[i / run * columns + j] += hessian.at(i, j);
  }
  std::vector<double> product(rows * columns);
  for (std::size_t g = 0; g < groups; ++g) {
    multiply_add(rows, columns, run, slope.data() + g * run, columns, false,
                 hessian.values.data() + g * run * columns, columns, product.data(), columns, 0.0);
    const auto at_scale = static_cast<Eigen::Index>(g), at_bias = static_cast<Eigen::Index>(groups + g);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t h = 0; h < groups; ++h) {
        double with_scale = 0, with_bias = 0;
        for (std::size_t k = h * run; k < (h + 1) * run; ++k) {
          with_scale += product[r * columns + k] * slope[r * columns + k];
          with_bias += product[r * columns + k];
        }
        normal[r](at_scale, static_cast<Eigen::Index>(h)) = with_scale;
        if (!view->free_bias) continue;
        const auto other_bias = static_cast<Eigen::Index>(groups + h);
        normal[r](at_scale, other_bias) = normal[r](other_bias, at_scale) = with_bias;
        double both = 0;
        for (std::size_t k = h * run; k < (h + 1) * run; ++k) both += bias_sums[g * columns + k];
        normal[r](at_bias, other_bias) = both;
      }
  }

  std::vector<Params> kept(panel.params.begin(), panel.params.end());
  for (std::size_t r = 0; r < rows; ++r) {
    Eigen::VectorXd right = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(unknowns));
    for (std::size_t k = 0; k < columns; ++k) {
      const double pull = before.gradient[r * columns + k];
      right(static_cast<Eigen::Index>(k / run)) += pull * slope[r * columns + k];
      if (view->free_bias) right(static_cast<Eigen::Index>(groups + k / run)) += pull;
    }
    Eigen::MatrixXd& matrix = normal[r];
    matrix.diagonal().array() += kRidge * matrix.diagonal().mean() + 1e-300;
    const Eigen::LDLT<Eigen::MatrixXd> solver(matrix);
    if (solver.info() != Eigen::Success) continue;
    const Eigen::VectorXd step = solver.solve(right);
    if (!step.allFinite()) continue;
    for (std::size_t g = 0; g < groups; ++g) {
      Params& params = panel.params[r * groups + g];
      const double scale = static_cast<double>(params.scale) + step(static_cast<Eigen::Index>(g));
      const double bias = view->free_bias
                              ? static_cast<double>(params.bias) + step(static_cast<Eigen::Index>(groups + g))
                              : scale * static_cast<double>(view->bias_per_scale);
      if (const auto stored =
              panel.format.store_beside(params, static_cast<float>(scale), static_cast<float>(bias)))
        params = *stored;
    }
  }
  const std::vector<double> old_loss = before.row_loss(), new_loss = PanelError(panel, hessian).row_loss();
  for (std::size_t r = 0; r < rows; ++r)
    if (!(new_loss[r] < old_loss[r]))
      std::copy_n(kept.begin() + static_cast<std::ptrdiff_t>(r * groups), groups,
                  panel.params.begin() + static_cast<std::ptrdiff_t>(r * groups));
}

void descend_coordinates(const Panel& panel, const Hessian& hessian) {
  const std::size_t rows = panel.rows, columns = panel.columns;
  const PanelError start(panel, hessian);
  // Transposed, so that a column of all rows is rounded in one call.
  std::vector<double> error(rows * columns), gradient(rows * columns), change(kGradientBlock * rows),
      block(kGradientBlock * rows);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) {
      error[c * rows + r] = start.error[r * columns + c];
      gradient[c * rows + r] = start.gradient[r * columns + c];
    }
  std::vector<float> values(rows), rounded(rows);
  std::vector<Code> codes(rows);
  std::vector<Params> params(panel.params.empty() ? 0 : rows);
  for (std::size_t begin = 0; begin < columns; begin += kGradientBlock) {
    const std::size_t count = std::min(kGradientBlock, columns - begin);
    std::copy_n(gradient.begin() + static_cast<std::ptrdiff_t>(begin * rows), count * rows, block.begin());
    std::fill(change.begin(), change.end(), 0.0);
    bool any = false;
    for (std::size_t j = 0; j < count; ++j) {
      const std::size_t column = begin + j;
      const double weight = hessian.at(column, column);
      const bool seen = weight > 0;
      for (std::size_t r = 0; r < rows; ++r) {
        const double original = static_cast<double>(panel.weights[r * columns + column]);
        const double others = block[j * rows + r] - error[column * rows + r] * weight;
        values[r] = static_cast<float>(seen ? original + others / weight : original);
        if (!params.empty()) params[r] = panel.params[(r * columns + column) / panel.layout.run];
      }
      panel.format.round(params, values, codes, rounded);
      if (!seen) {
        // Inputs that calibration never saw cost nothing here, but may be alive elsewhere: the nearest codes,
        // which refitted parameters may have moved.
        for (std::size_t r = 0; r < rows; ++r) panel.codes[r * columns + column] = codes[r];
        continue;
      }
      bool moved = false;
      for (std::size_t r = 0; r < rows; ++r) {
        const double old_error = error[column * rows + r];
        const double new_error =
            static_cast<double>(panel.weights[r * columns + column]) - static_cast<double>(rounded[r]);
        const double step = new_error - old_error;
        const double others = block[j * rows + r] - old_error * weight;
        const double gain = -step * (weight * (new_error + old_error) + 2 * others);
        if (!(gain > kLeastGain * weight * old_error * old_error) || step == 0) continue;
        change[j * rows + r] = step;
        error[column * rows + r] = new_error;
        panel.codes[r * columns + column] = codes[r];
        moved = true;
      }
      if (!moved) continue;
      any = true;
      for (std::size_t k = 0; k < count; ++k) {
        const double share = hessian.at(column, begin + k);
        for (std::size_t r = 0; r < rows; ++r) block[k * rows + r] += change[j * rows + r] * share;
      }
    }
    if (any)
      multiply_add(columns, rows, count, hessian.values.data() + begin * columns, columns, true,
                   change.data(), rows, gradient.data(), rows, 1.0);
  }
}

}  // namespace assay
