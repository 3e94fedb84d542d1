#include "assay/rounding/gptq_factor.h"

// Results must not depend on the number of threads.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Cholesky>
#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "assay/base/error.h"

namespace assay {
namespace {

double mean_live_diagonal(const Hessian& hessian) {
  double sum = 0;
  std::size_t live = 0;
  for (const double value : hessian.diagonal()) {
    if (value <= 0) continue;
    sum += value;
    ++live;
  }
  return live == 0 ? 0 : sum / static_cast<double>(live);
}

}  // namespace

std::vector<std::uint32_t> column_order(const Hessian& hessian, ColumnOrder order, std::size_t group) {
  std::vector<std::uint32_t> columns(hessian.columns);
  std::iota(columns.begin(), columns.end(), 0u);
  if (order == ColumnOrder::natural) return columns;
  const std::vector<double> diagonal = hessian.diagonal();
  const auto larger = [&](std::uint32_t a, std::uint32_t b) { return diagonal[a] > diagonal[b]; };
  if (order == ColumnOrder::activation) {
    std::ranges::stable_sort(columns, larger);
    return columns;
  }
  assert(group > 0 && hessian.columns % group == 0);
  std::vector<double> sums(hessian.columns / group);
  for (std::size_t i = 0; i < diagonal.size(); ++i) sums[i / group] += diagonal[i];
  std::vector<std::uint32_t> groups(sums.size());
  std::iota(groups.begin(), groups.end(), 0u);
  std::ranges::stable_sort(groups, [&](std::uint32_t a, std::uint32_t b) { return sums[a] > sums[b]; });
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto first = columns.begin() + static_cast<std::ptrdiff_t>(g * group);
    const auto last = first + static_cast<std::ptrdiff_t>(group);
    std::iota(first, last, static_cast<std::uint32_t>(groups[g] * group));
    std::stable_sort(first, last, larger);
  }
  return columns;
}

GptqFactor factor_hessian(const Hessian& hessian, ColumnOrder order, std::size_t group, double damping) {
  const std::size_t n = hessian.columns;
  const double mean = mean_live_diagonal(hessian);
  if (!(mean > 1e-20) || !std::isfinite(mean))
    fail("the inputs seen in calibration have a mean square of {}: nothing to weigh errors by", mean);
  GptqFactor factor;
  factor.columns = n;
  factor.order = column_order(hessian, order, group);
  // H = R R^T with R upper triangular is the ordinary Cholesky factor of the matrix turned end for end.
  Eigen::MatrixXd reversed(n, n);
  for (double lambda = damping;; lambda = lambda > 0 ? lambda * 10 : 1e-6) {
    if (lambda > 1)
      fail("the {} x {} Hessian is not positive definite even with a damping of the whole mean diagonal", n,
           n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        reversed(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(j)) =
            hessian.at(factor.order[n - 1 - i], factor.order[n - 1 - j]) + (i == j ? lambda * mean : 0.0);
    Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(reversed);
    factor.damping = lambda;
    if (cholesky.info() == Eigen::Success && reversed.diagonal().minCoeff() > 0) break;
  }
  factor.v.assign(n * n, 0.0);
  factor.d.resize(n);
  double sum = 0;
  for (std::size_t j = 0; j < n; ++j) {
    const auto column = static_cast<Eigen::Index>(n - 1 - j);
    const double root = reversed(column, column);
    factor.d[j] = root * root;
    sum += factor.d[j];
    for (std::size_t i = 0; i <= j; ++i)
      factor.v[i * n + j] = reversed(static_cast<Eigen::Index>(n - 1 - i), column) / root;
  }
  factor.predicted_gain = sum / (hessian.trace() + static_cast<double>(n) * factor.damping * mean);
  return factor;
}

}  // namespace assay
