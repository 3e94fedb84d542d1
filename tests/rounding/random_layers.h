#pragma once
// Random linear layers for the tests of calibration: inputs, Hessians of several kinds, and what is stored of
// weights, through the Format interface alone. Losses are computed here in f64 from packed bytes, with no
// code of what is tested.
#include <Eigen/Dense>
#include <cmath>
#include <numeric>

#include "assay/rounding/gptq_sweep.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {

using Matrix = Eigen::MatrixXd;

inline Eigen::Index index(std::size_t i) {
  return static_cast<Eigen::Index>(i);
}

/// How the inputs of a layer hang together.
enum class Inputs { independent, correlated, low_rank, diagonal, blocks, dead_columns };
inline constexpr Inputs kAllInputs[] = {Inputs::independent, Inputs::correlated, Inputs::low_rank,
                                        Inputs::diagonal,    Inputs::blocks,     Inputs::dead_columns};
inline constexpr Inputs kCorrelatedInputs[] = {Inputs::correlated, Inputs::low_rank, Inputs::blocks};

inline std::string input_name(Inputs kind) {
  constexpr const char* kNames[] = {"independent", "correlated", "low rank",
                                    "diagonal",    "blocks",     "dead columns"};
  return kNames[static_cast<std::size_t>(kind)];
}

inline Matrix random_matrix(std::size_t rows, std::size_t columns, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, 1);
  Matrix matrix(index(rows), index(columns));
  for (Eigen::Index i = 0; i < matrix.rows(); ++i)
    for (Eigen::Index j = 0; j < matrix.cols(); ++j) matrix(i, j) = normal(generator);
  return matrix;
}

/// independent: a Wishart matrix of a few more tokens than columns. correlated: AR(.9). low_rank: a quarter
/// of the columns and noise of 1 %. All but these two have channels of unlike size.
inline Matrix random_second_moments(Inputs kind, std::size_t columns, unsigned seed) {
  const Eigen::Index n = index(columns);
  const Matrix spread = random_matrix(columns, 1, seed + 1000);
  Matrix moments(n, n);
  if (kind == Inputs::independent) {
    const Matrix x = random_matrix(2 * columns + 4, columns, seed);
    return x.transpose() * x / static_cast<double>(2 * columns + 4);
  }
  if (kind == Inputs::low_rank) {
    const Matrix factor = random_matrix(std::max<std::size_t>(1, columns / 4), columns, seed);
    moments = factor.transpose() * factor;
    moments.diagonal().array() += 0.01 * moments.diagonal().mean();
    return moments;
  }
  for (Eigen::Index i = 0; i < n; ++i)
    for (Eigen::Index j = 0; j < n; ++j) {
      const bool together = kind == Inputs::diagonal ? i == j
                            : kind == Inputs::blocks ? i / 5 == j / 5
                                                     : true;
      const double scale = std::exp(0.7 * (spread(i, 0) + spread(j, 0)));
      moments(i, j) = together ? scale * std::pow(0.9, static_cast<double>(std::abs(i - j))) : 0.0;
    }
  if (kind == Inputs::dead_columns)
    for (Eigen::Index i = 1; i < n; i += 3) {
      moments.row(i).setZero();
      moments.col(i).setZero();
    }
  return moments;
}

inline Hessian to_hessian(const Matrix& moments, std::uint64_t tokens = 1'000'000) {
  Hessian hessian{static_cast<std::size_t>(moments.rows()), tokens, {}};
  for (Eigen::Index i = 0; i < moments.rows(); ++i)
    for (Eigen::Index j = 0; j < moments.cols(); ++j) hessian.values.push_back(moments(i, j));
  return hessian;
}

inline Hessian random_hessian(Inputs kind, std::size_t columns, unsigned seed) {
  return to_hessian(random_second_moments(kind, columns, seed));
}

inline Matrix to_matrix(const Hessian& hessian) {
  Matrix matrix(index(hessian.columns), index(hessian.columns));
  for (std::size_t i = 0; i < hessian.columns; ++i)
    for (std::size_t j = 0; j < hessian.columns; ++j) matrix(index(i), index(j)) = hessian.at(i, j);
  return matrix;
}

/// The lambda that a factor was made with: parts of the mean over the columns that were seen.
inline double absolute_damping(const Hessian& hessian, const GptqFactor& factor) {
  double sum = 0, live = 0;
  for (std::size_t i = 0; i < hessian.columns; ++i)
    if (hessian.at(i, i) > 0) {
      sum += hessian.at(i, i);
      ++live;
    }
  return factor.damping * sum / live;
}

inline Matrix damped(const Hessian& hessian, const GptqFactor& factor) {
  Matrix matrix = to_matrix(hessian);
  matrix.diagonal().array() += absolute_damping(hessian, factor);
  return matrix;
}

/// Rows and columns in processing order.
inline Matrix permuted(const Matrix& matrix, const std::vector<std::uint32_t>& order) {
  Matrix result(matrix.rows(), matrix.cols());
  for (std::size_t i = 0; i < order.size(); ++i)
    for (std::size_t j = 0; j < order.size(); ++j) result(index(i), index(j)) = matrix(order[i], order[j]);
  return result;
}

/// Normal values in tokens x features; neighbouring features share `correlation` of their spread.
inline std::vector<float> random_inputs(std::size_t tokens, std::size_t columns, unsigned seed,
                                        float correlation = 0) {
  std::vector<float> x = gaussian(tokens * columns, seed);
  const float rest = std::sqrt(1 - correlation * correlation);
  for (std::size_t i = 0; i < x.size(); ++i)
    if (i % columns != 0) x[i] = correlation * x[i - 1] + rest * x[i];
  return x;
}

/// Weights of a matrix and what is stored of them.
struct Layer {
  FormatPtr format;
  std::size_t rows, columns;
  std::vector<float> weights;
  Encoded stored;

  Panel panel() {
    return {*format, format->layout(columns), rows, columns, weights, stored.params, stored.codes};
  }
};

/// With the parameters and codes of the format's own rule.
inline Layer random_layer(const FormatPtr& format, std::size_t rows, std::size_t columns, unsigned seed) {
  Layer layer{format, rows, columns, gaussian(rows * columns, seed), {}};
  layer.stored = encode(*format, layer.weights, columns);
  return layer;
}

inline void expect_legal(const Format& format, const Encoded& stored, std::size_t run) {
  std::string why;
  if (stored.params.empty()) {
    EXPECT_TRUE(format.valid({}, stored.codes, &why)) << why;
  }
  for (std::size_t u = 0; u < stored.params.size(); ++u)
    EXPECT_TRUE(format.valid(stored.params[u], std::span(stored.codes).subspan(u * run, run), &why))
        << "unit " << u << ": " << why;
}

/// The weights that a reader of the packed bytes gets.
inline std::vector<float> read_back(const Format& format, const Encoded& stored, std::size_t weights,
                                    std::size_t columns) {
  expect_legal(format, stored, format.layout(columns).run);
  return decode(format, unpack(format, pack(format, stored, columns), weights, columns), weights);
}

/// Original minus stored, [rows, columns].
inline Matrix errors(const std::vector<float>& weights, const std::vector<float>& stored,
                     std::size_t columns) {
  Matrix result(index(weights.size() / columns), index(columns));
  for (std::size_t i = 0; i < weights.size(); ++i)
    result(index(i / columns), index(i % columns)) =
        static_cast<double>(weights[i]) - static_cast<double>(stored[i]);
  return result;
}

inline Matrix errors(const Layer& layer) {
  return errors(layer.weights, read_back(*layer.format, layer.stored, layer.weights.size(), layer.columns),
                layer.columns);
}

/// e H e^T of each row.
inline Eigen::VectorXd row_losses(const Matrix& errors, const Matrix& moments) {
  return (errors * moments).cwiseProduct(errors).rowwise().sum();
}

/// Equal steps without end and parameters for every weight, decode(q) = q * scale + bias: the grids that the
/// theorems speak of, which no file holds.
class Grid final : public Format {
 public:
  enum class Rounding { nearest, toward_zero };
  explicit Grid(Rounding rounding = Rounding::nearest) : rounding_(rounding) {}

  std::string name() const override { return "grid"; }
  std::string summary() const override { return "test"; }
  Layout layout(std::uint64_t) const override { return {Share::run_in_row, 1, true, 1, {}}; }
  bool valid(const Params&, std::span<const Code>, std::string*) const override { return true; }
  void decode(std::span<const Params> params, std::span<const Code> codes,
              std::span<float> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = value(params[i], codes[i]);
  }
  void round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
             std::span<float> out) const override {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double position =
          (static_cast<double>(values[i]) - static_cast<double>(params[i].bias)) / params[i].scale;
      codes[i] =
          static_cast<Code>(rounding_ == Rounding::nearest ? std::nearbyint(position) : std::trunc(position));
      out[i] = value(params[i], codes[i]);
    }
  }
  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override {
    std::fill(params.begin(), params.end(), Params{});
    std::vector<float> ignored(weights.size());
    round(params, weights, codes, ignored);
  }
  void unpack(std::span<const Bytes>, std::span<Params>, std::span<Code>) const override {}

 private:
  static float value(const Params& params, Code code) {
    return static_cast<float>(static_cast<double>(code) * static_cast<double>(params.scale) +
                              static_cast<double>(params.bias));
  }
  Rounding rounding_;
};

/// A layer on a grid of steps of 1; weights some steps wide.
inline Layer grid_layer(std::size_t rows, std::size_t columns, unsigned seed,
                        Grid::Rounding rounding = Grid::Rounding::nearest) {
  Layer layer{std::make_shared<Grid>(rounding), rows, columns, gaussian(rows * columns, seed, 3.0f), {}};
  layer.stored = {std::vector<Params>(rows * columns), std::vector<Code>(rows * columns)};
  return layer;
}

/// Original minus stored of a layer on a grid, which has no bytes to read back.
inline Matrix grid_errors(const Layer& layer) {
  return errors(layer.weights, decode(*layer.format, layer.stored, layer.weights.size()), layer.columns);
}

/// The codes nearest to the weights under the parameters as they stand.
inline std::vector<Code> nearest_codes(const Layer& layer) {
  std::vector<Code> codes(layer.weights.size());
  std::vector<float> ignored(codes.size());
  layer.format->round(per_weight(*layer.format, layer.stored, codes.size(), layer.columns), layer.weights,
                      codes, ignored);
  return codes;
}

/// The codes of the weights, padding left out.
inline std::vector<Code> real_codes(const Layer& layer) {
  const auto begin = layer.stored.codes.begin();
  return {begin, begin + static_cast<std::ptrdiff_t>(layer.weights.size())};
}

/// Error feedback over the layer; what gptq_sweep says each row lost.
inline std::vector<double> sweep(Layer& layer, const GptqFactor& factor, GroupFit fit = GroupFit::kept) {
  std::vector<double> loss(layer.rows);
  gptq_sweep(layer.panel(), factor, fit, {}, loss);
  return loss;
}

/// May the format's groups be fitted during a sweep in this order?
inline bool fits_groups(const Format& format, std::size_t columns, ColumnOrder order) {
  const Layout layout = format.layout(columns);
  const auto view = format.affine();
  return view && view->searchable && order != ColumnOrder::activation && layout.share != Share::row &&
         layout.run > 1 && columns % layout.run == 0;
}

/// Under the parameters and codes of a rounding that knows nothing of the inputs.
inline Layer plainly_rounded(const char* format, std::size_t rows, std::size_t columns, unsigned seed) {
  return random_layer(find_format(format), rows, columns, seed);
}

}  // namespace assay::test
