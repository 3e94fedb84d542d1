#pragma once
// Second moments of a linear layer's inputs, H = X^T X / n over n calibration tokens: what makes a rounding
// error e of one output row cost e H e^T, the mean squared change of that output (GPTQ, arXiv 2210.17323).
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace assay {

struct Hessian {
  std::size_t columns = 0;     // K, input features
  std::uint64_t tokens = 0;    // n
  std::vector<double> values;  // [K, K], symmetric, row-major

  double at(std::size_t i, std::size_t j) const { return values[i * columns + j]; }
  std::vector<double> diagonal() const;
  double trace() const;
};

/// Of inputs x[tokens, columns]. Products are taken in f32 over a thousand tokens and added in f64, tile
/// by tile in a fixed order: the same bits for any number of threads. Throws Error for inputs that are not
/// finite.
Hessian make_hessian(std::span<const float> x, std::size_t tokens, std::size_t columns);

/// Sum over rows of (w - s) H (w - s)^T: what storing s[rows, K] in place of w[rows, K] adds to the mean
/// square of the layer's output. An empty `stored` is all zeros. The same bits for any number of threads.
double output_loss(const Hessian& hessian, std::span<const float> weights, std::span<const float> stored);

}  // namespace assay
