// Every operation as its definition says it, in float64: what other backends are tested against.
#include <algorithm>
#include <cmath>
#include <complex>
#include <numeric>

#include "assay/base/checked.h"
#include "assay/kernels/host_layer_state.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/host_vector.h"
#include "assay/kernels/ops.h"
#include "assay/kernels/routing.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

std::span<double> all(const Rows& rows) {
  return host_values<double>(rows);
}
std::span<double> row_of(const Rows& rows, std::size_t index) {
  return all(rows.range(index, 1));
}
double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

/// Decoded as it is read, so that it takes no memory of its own.
class ReferenceLinear final : public Linear {
 public:
  explicit ReferenceLinear(PackedMatrix matrix) : matrix_(std::move(matrix)) {}

  void forward(const Rows& x, const Rows& y) const override {
    constexpr std::size_t kRows = 32;  // whole units of every format
    const std::uint64_t n = rows(), k = columns();
    parallel_for(ceil_divide(n, kRows), [&](std::size_t block) {
      const std::uint64_t first = block * kRows, count = std::min<std::uint64_t>(kRows, n - first);
      std::vector<float> w(count * k);
      matrix_.decode(first, count, w);
      for (std::size_t t = 0; t < x.count(); ++t)
        for (std::uint64_t r = 0; r < count; ++r) {
          double sum = 0;
          for (std::uint64_t j = 0; j < k; ++j) sum += static_cast<double>(w[r * k + j]) * row_of(x, t)[j];
          row_of(y, t)[first + r] = sum;
        }
    });
  }
  std::uint64_t rows() const override { return matrix_.rows(); }
  std::uint64_t columns() const override { return matrix_.columns(); }
  void row(std::uint64_t index, const Rows& out) const override {
    std::vector<float> values(columns());
    matrix_.decode(index, 1, values);
    std::ranges::copy(values, all(out).begin());
  }
  std::string kernel() const override { return "decoded as it is read, float64 loops"; }

 private:
  PackedMatrix matrix_;
};

class ReferenceOps final : public Ops {
 public:
  std::string_view name() const override { return "reference"; }
  Element element() const override { return Element::f64; }

  std::shared_ptr<const Linear> matrix(PackedMatrix matrix, const LinearOptions&) const override {
    return std::make_shared<const ReferenceLinear>(std::move(matrix));
  }
  VectorPtr vector(std::span<const double> values) const override {
    return std::make_shared<const HostVector<double>>(values);
  }
  std::unique_ptr<LayerState> layer_state(const LayerStateShape& shape) const override {
    return std::make_unique<HostLayerState<double>>(shape);
  }

  void write(std::span<const float> values, const Rows& out) const override {
    std::ranges::copy(values, all(out).begin());
  }
  void read(const Rows& x, std::span<float> out) const override {
    std::ranges::transform(all(x), out.begin(), [](double value) { return static_cast<float>(value); });
  }
  std::span<const float> on_host(const Rows& x, std::vector<float>& copy) const override {
    copy.resize(x.size());
    read(x, copy);
    return copy;
  }

  void linear_group(std::span<const Linear* const> matrices, const Rows& x,
                    std::span<const Rows> outs) const override {
    for (std::size_t i = 0; i < matrices.size(); ++i) matrices[i]->forward(x, outs[i]);
  }
  void embedding(const Linear& matrix, std::span<const std::int32_t> ids, const Rows& out) const override {
    for (std::size_t i = 0; i < ids.size(); ++i)
      matrix.row(static_cast<std::uint64_t>(ids[i]), out.range(i, 1));
  }

  void rms_norm(const Rows& x, const Vector& weight, float epsilon, const Rows& out) const override {
    const auto gain = host_values<double>(weight);
    for (std::size_t r = 0; r < x.count(); ++r) {
      const auto from = row_of(x, r), to = row_of(out, r);
      const double squares = std::inner_product(from.begin(), from.end(), from.begin(), 0.0);
      const double factor =
          1 / std::sqrt(squares / static_cast<double>(x.width()) + static_cast<double>(epsilon));
      for (std::size_t i = 0; i < x.width(); ++i) to[i] = from[i] * factor * gain[i];
    }
  }
  void l2_norm(const Rows& x, std::size_t first, std::size_t heads, std::size_t width,
               std::size_t divisor) const override {
    for (std::size_t r = 0; r < x.count(); ++r)
      for (std::size_t head = 0; head < heads; ++head) {
        const auto run = row_of(x, r).subspan(first + head * width, width);
        const double squares = std::inner_product(run.begin(), run.end(), run.begin(), 1e-6);
        for (double& value : run) value /= std::sqrt(squares) * std::sqrt(static_cast<double>(divisor));
      }
  }
  void add(const Rows& x, const Rows& y) const override {
    for (std::size_t i = 0; i < x.size(); ++i) all(x)[i] += all(y)[i];
  }
  void add_bias(const Rows& x, const Vector& bias) const override {
    for (std::size_t i = 0; i < x.size(); ++i) all(x)[i] += host_values<double>(bias)[i % x.width()];
  }
  void silu(const Rows& x) const override {
    for (double& value : all(x)) value *= sigmoid(value);
  }
  void silu_multiply(const Rows& gate, const Rows& up) const override {
    for (std::size_t i = 0; i < gate.size(); ++i) all(gate)[i] *= sigmoid(all(gate)[i]) * all(up)[i];
  }
  void sigmoid_multiply(const Rows& x, const Rows& gate) const override {
    for (std::size_t i = 0; i < x.size(); ++i) all(x)[i] *= sigmoid(all(gate)[i]);
  }
  void add_gated(const Rows& x, const Rows& gate, const Rows& y) const override {
    for (std::size_t i = 0; i < x.size(); ++i) all(x)[i] += sigmoid(all(gate)[i / x.width()]) * all(y)[i];
  }
  void zero(const Rows& x) const override { std::ranges::fill(all(x), 0.0); }
  void copy(const Rows& x, const Rows& out) const override { std::ranges::copy(all(x), all(out).begin()); }
  void copy_heads(const Rows& x, std::size_t heads, std::size_t from, std::size_t count, const Rows& out,
                  std::size_t to) const override {
    for (std::size_t t = 0; t < x.count(); ++t)
      for (std::size_t h = 0; h < heads; ++h)
        for (std::size_t i = 0; i < count; ++i)
          row_of(out, t)[to + h * count + i] = row_of(x, t)[h * (x.width() / heads) + from + i];
  }

  void rope_angles(std::span<const double> frequencies, std::span<const std::size_t> positions,
                   const Rows& angles) const override {
    const std::size_t pairs = frequencies.size();
    for (std::size_t t = 0; t < positions.size(); ++t)
      for (std::size_t j = 0; j < pairs; ++j) {
        const double angle = static_cast<double>(positions[t]) * frequencies[j];
        row_of(angles, t)[j] = std::cos(angle);
        row_of(angles, t)[pairs + j] = std::sin(angle);
      }
  }
  void rope(const Rows& angles, std::size_t head_dim, const Rows& x) const override {
    const std::size_t pairs = angles.width() / 2;
    for (std::size_t t = 0; t < x.count(); ++t)
      for (std::size_t head = 0; head < x.width(); head += head_dim)
        for (std::size_t j = 0; j < pairs; ++j) {
          double &low = row_of(x, t)[head + j], &high = row_of(x, t)[head + j + pairs];
          const std::complex<double> turned =
              std::complex(low, high) * std::complex(row_of(angles, t)[j], row_of(angles, t)[pairs + j]);
          low = turned.real();
          high = turned.imag();
        }
  }

  void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values) const override {
    for (const LayerChunk& chunk : chunks) {
      auto& state = host_state<double>(chunk);
      for (std::size_t t = 0; t < chunk.count; ++t)
        state.put(chunk.start + t, row_of(keys, chunk.first_row + t).data(),
                  row_of(values, chunk.first_row + t).data());
    }
  }
  void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
                 const Rows& out) const override {
    const std::size_t dim = shape.head_dim;
    for (const LayerChunk& chunk : chunks)
      for (std::size_t t = 0; t < chunk.count; ++t)
        for (std::size_t h = 0; h < shape.heads; ++h) {
          const std::size_t kv = h / (shape.heads / shape.kv_heads);
          auto& state = host_state<double>(chunk);
          const auto query = row_of(queries, chunk.first_row + t).subspan(h * dim, dim);
          const auto mixed = row_of(out, chunk.first_row + t).subspan(h * dim, dim);
          std::vector<double> shares(chunk.start + t + 1);
          for (std::size_t u = 0; u < shares.size(); ++u)
            shares[u] = std::inner_product(query.begin(), query.end(), state.keys(kv) + u * dim, 0.0) /
                        std::sqrt(static_cast<double>(dim));
          const double highest = *std::ranges::max_element(shares);
          for (double& share : shares) share = std::exp(share - highest);
          const double total = std::accumulate(shares.begin(), shares.end(), 0.0);
          std::ranges::fill(mixed, 0.0);
          for (std::size_t u = 0; u < shares.size(); ++u)
            for (std::size_t i = 0; i < dim; ++i)
              mixed[i] += shares[u] / total * state.values(kv)[u * dim + i];
        }
  }

  void delta_gates(const Rows& beta, const Rows& decay, const Vector& rate,
                   const Vector& bias) const override {
    const auto rates = host_values<double>(rate), biases = host_values<double>(bias);
    for (std::size_t i = 0; i < beta.size(); ++i) {
      const std::size_t head = i % rates.size();
      const double step = all(decay)[i] + biases[head];
      all(beta)[i] = sigmoid(all(beta)[i]);
      all(decay)[i] = std::exp(-std::exp(rates[head]) * (step > 40 ? step : std::log1p(std::exp(step))));
    }
  }
  void causal_convolution(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Vector& taps,
                          const Rows& x, const Rows& out) const override {
    const std::size_t held = shape.kernel - 1, channels = shape.channels();
    for (const LayerChunk& chunk : chunks) {
      auto& state = host_state<double>(chunk);
      const auto input = [&](std::size_t i, std::size_t c) {
        return i < held ? state.before()[i * channels + c] : row_of(x, chunk.first_row + i - held)[c];
      };
      for (std::size_t t = 0; t < chunk.count; ++t)
        for (std::size_t c = 0; c < channels; ++c) {
          double sum = 0;
          for (std::size_t i = 0; i < shape.kernel; ++i)
            sum += host_values<double>(taps)[i * channels + c] * input(t + i, c);
          row_of(out, chunk.first_row + t)[c] = sum;
        }
      for (std::size_t i = 0; i < held; ++i)
        for (std::size_t c = 0; c < channels; ++c)
          state.after()[i * channels + c] = input(chunk.count + i, c);
    }
  }
  void delta_rule(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Rows& mixed,
                  const Rows& beta, const Rows& decay, const Rows& out) const override {
    const std::size_t size = shape.value_dim * shape.key_dim, keys = shape.key_heads * shape.key_dim;
    for (const LayerChunk& chunk : chunks)
      for (std::size_t h = 0; h < shape.value_heads; ++h) {
        const std::size_t offset = (shape.kernel - 1) * shape.channels() + h * size;
        double* state = host_state<double>(chunk).after() + offset;
        std::copy_n(host_state<double>(chunk).before() + offset, size, state);
        for (std::size_t t = 0; t < chunk.count; ++t) {
          const std::size_t at = chunk.first_row + t;
          const double* q =
              row_of(mixed, at).data() + h / (shape.value_heads / shape.key_heads) * shape.key_dim;
          const double *k = q + keys, *v = row_of(mixed, at).data() + 2 * keys + h * shape.value_dim;
          for (std::size_t r = 0; r < shape.value_dim; ++r) {
            double* s = state + r * shape.key_dim;
            double held = 0, answer = 0;
            for (std::size_t j = 0; j < shape.key_dim; ++j) held += (s[j] *= row_of(decay, at)[h]) * k[j];
            const double correction = row_of(beta, at)[h] * (v[r] - held);
            for (std::size_t j = 0; j < shape.key_dim; ++j) answer += (s[j] += correction * k[j]) * q[j];
            row_of(out, at)[h * shape.value_dim + r] = answer;
          }
        }
      }
  }

  void route(const Rows& logits, const RouteOptions& options, Routing& routing) const override {
    routing.visits.resize(logits.count() * options.active);
    routing.probabilities.clear();
    for (std::size_t t = 0; t < logits.count(); ++t) {
      const auto row = row_of(logits, t);
      const double highest = *std::ranges::max_element(row);
      for (double& value : row) value = std::exp(value - highest);
      const double total = std::accumulate(row.begin(), row.end(), 0.0);
      for (double& value : row) value /= total;
      choose_experts(std::span<const double>(row), options,
                     std::span(routing.visits).subspan(t * options.active, options.active));
      for (const double value : row) routing.probabilities.push_back(static_cast<float>(value));
    }
  }
  void gather(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const override {
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::ranges::copy(row_of(x, rows[i].token), row_of(out, i).begin());
  }
  void scatter_add(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const override {
    for (const GatheredRow& row : rows)
      for (std::size_t j = 0; j < x.width(); ++j)
        row_of(out, row.token)[j] += row.weight * row_of(x, row.slot)[j];
  }
};

}  // namespace

const Ops& reference_ops() {
  static const ReferenceOps ops;
  return ops;
}

}  // namespace assay
