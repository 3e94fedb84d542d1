#include "assay/rounding/hessian.h"

#include <cblas.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

constexpr std::size_t kTile = 128;             // columns
constexpr std::size_t kTokensPerChunk = 1024;  // summed in f32 before they meet f64

}  // namespace

std::vector<double> Hessian::diagonal() const {
  std::vector<double> diagonal(columns);
  for (std::size_t i = 0; i < columns; ++i) diagonal[i] = at(i, i);
  return diagonal;
}

double Hessian::trace() const {
  double sum = 0;
  for (std::size_t i = 0; i < columns; ++i) sum += at(i, i);
  return sum;
}

Hessian make_hessian(std::span<const float> x, std::size_t tokens, std::size_t columns) {
  assert(x.size() == tokens * columns);
  Hessian hessian{columns, tokens, std::vector<double>(columns * columns)};
  const std::size_t tiles = ceil_divide(columns, kTile);
  std::vector<std::pair<std::size_t, std::size_t>> pairs;  // of the upper triangle
  for (std::size_t i = 0; i < tiles; ++i)
    for (std::size_t j = i; j < tiles; ++j) pairs.emplace_back(i * kTile, j * kTile);
  parallel_for(pairs.size(), [&](std::size_t p) {
    const std::size_t row = pairs[p].first, column = pairs[p].second;
    const std::size_t m = std::min(kTile, columns - row), n = std::min(kTile, columns - column);
    std::vector<float> product(m * n);
    std::vector<double> sum(m * n);
    const int stride = static_cast<int>(columns);
    for (std::size_t token = 0; token < tokens; token += kTokensPerChunk) {
      const std::size_t count = std::min(kTokensPerChunk, tokens - token);
      const float* chunk = x.data() + token * columns;
      cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(m), static_cast<int>(n),
                  static_cast<int>(count), 1.0f, chunk + row, stride, chunk + column, stride, 0.0f,
                  product.data(), static_cast<int>(n));
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(product[i]);
    }
    const double scale = 1.0 / static_cast<double>(std::max<std::size_t>(1, tokens));
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        if (row == column && j < i) continue;  // one triangle, mirrored
        const double value = sum[i * n + j] * scale;
        hessian.values[(row + i) * columns + column + j] = value;
        hessian.values[(column + j) * columns + row + i] = value;
      }
  });
  for (std::size_t i = 0; i < columns; ++i)
    if (!std::isfinite(hessian.at(i, i)))
      fail("calibration: input feature {} is not finite (its mean square is {})", i, hessian.at(i, i));
  return hessian;
}

double output_loss(const Hessian& hessian, std::span<const float> weights, std::span<const float> stored) {
  constexpr std::size_t kPanel = 64;
  const std::size_t columns = hessian.columns, rows = weights.size() / columns;
  std::vector<double> sums(ceil_divide(rows, kPanel));
  parallel_for(sums.size(), [&](std::size_t p) {
    const std::size_t first = p * kPanel * columns, count = std::min(kPanel, rows - p * kPanel);
    std::vector<double> error(count * columns), product(error.size());
    for (std::size_t i = 0; i < error.size(); ++i)
      error[i] = static_cast<double>(weights[first + i]) -
                 (stored.empty() ? 0.0 : static_cast<double>(stored[first + i]));
    const int k = static_cast<int>(columns);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(count), k, k, 1.0, error.data(),
                k, hessian.values.data(), k, 0.0, product.data(), k);
    for (std::size_t i = 0; i < error.size(); ++i) sums[p] += error[i] * product[i];
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace assay
