#include <algorithm>
#include <cassert>
#include <cmath>

#include "assay/base/checked.h"
#include "assay/kernels/cpu/attention.h"
#include "assay/kernels/cpu/delta_rule.h"
#include "assay/kernels/cpu/elementwise.h"
#include "assay/kernels/cpu/panel_linear.h"
#include "assay/kernels/host_layer_state.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/host_vector.h"
#include "assay/kernels/ops.h"
#include "assay/kernels/routing.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

constexpr float kL2Epsilon = 1e-6f;  // on the sum of squares

/// body(token) for all tokens, on all threads where there are many.
template <class Body>
void for_each_token(std::size_t tokens, const Body& body) {
  constexpr std::size_t kTokensPerTask = 32;
  if (tokens <= kTokensPerTask) {
    for (std::size_t token = 0; token < tokens; ++token) body(token);
    return;
  }
  parallel_for(ceil_divide(tokens, kTokensPerTask), [&](std::size_t task) {
    const std::size_t end = std::min(tokens, (task + 1) * kTokensPerTask);
    for (std::size_t token = task * kTokensPerTask; token < end; ++token) body(token);
  });
}

class CpuOps final : public Ops {
 public:
  std::string_view name() const override { return "cpu"; }
  Element element() const override { return Element::f32; }

  std::shared_ptr<const Linear> matrix(PackedMatrix matrix, const LinearOptions& options) const override {
    return make_linear(std::move(matrix), options);
  }
  VectorPtr vector(std::span<const double> values) const override {
    return std::make_shared<const HostVector<float>>(values);
  }
  std::unique_ptr<LayerState> layer_state(const LayerStateShape& shape) const override {
    return std::make_unique<HostLayerState<float>>(shape);
  }

  void write(std::span<const float> values, const Rows& out) const override {
    std::ranges::copy(values, host_values<float>(out).begin());
  }
  void read(const Rows& x, std::span<float> out) const override {
    std::ranges::copy(host_values<float>(x), out.begin());
  }
  std::span<const float> on_host(const Rows& x, std::vector<float>&) const override {
    return host_values<float>(x);
  }

  void linear_group(std::span<const Linear* const> matrices, const Rows& x,
                    std::span<const Rows> outs) const override {
    if (cpu::multiply_panels(matrices, x, outs)) return;
    for (std::size_t i = 0; i < matrices.size(); ++i) matrices[i]->forward(x, outs[i]);
  }
  void embedding(const Linear& matrix, std::span<const std::int32_t> ids, const Rows& out) const override {
    for (std::size_t i = 0; i < ids.size(); ++i)
      matrix.row(static_cast<std::uint64_t>(ids[i]), out.range(i, 1));
  }

  void rms_norm(const Rows& x, const Vector& weight, float epsilon, const Rows& out) const override {
    assay::rms_norm(host_values<float>(x), host_values<float>(weight), epsilon, host_values<float>(out));
  }
  void l2_norm(const Rows& x, std::size_t first, std::size_t heads, std::size_t width,
               std::size_t divisor) const override {
    const float scale = 1.0f / std::sqrt(static_cast<float>(divisor));
    const std::span<float> values = host_values<float>(x);
    for (std::size_t row = 0; row < x.count(); ++row)
      for (std::size_t head = 0; head < heads; ++head) {
        const std::span<float> run = values.subspan(row * x.width() + first + head * width, width);
        float sum = 0;
        for (const float value : run) sum += value * value;
        const float factor = scale / std::sqrt(sum + kL2Epsilon);
        for (float& value : run) value *= factor;
      }
  }
  void add(const Rows& x, const Rows& y) const override {
    assay::add(host_values<float>(x), host_values<float>(y));
  }
  void add_bias(const Rows& x, const Vector& bias) const override {
    assay::add_bias(host_values<float>(x), host_values<float>(bias));
  }
  void silu(const Rows& x) const override { assay::silu(host_values<float>(x)); }
  void silu_multiply(const Rows& gate, const Rows& up) const override {
    assay::silu_multiply(host_values<float>(gate), host_values<float>(up));
  }
  void sigmoid_multiply(const Rows& x, const Rows& gate) const override {
    assay::sigmoid_multiply(host_values<float>(x), host_values<float>(gate));
  }
  void add_gated(const Rows& x, const Rows& gate, const Rows& y) const override {
    const std::span<float> sums = host_values<float>(x), gates = host_values<float>(gate),
                           added = host_values<float>(y);
    for (std::size_t row = 0; row < x.count(); ++row) {
      const float share = 1.0f / (1.0f + fast_exp(-gates[row]));
      for (std::size_t j = row * x.width(); j < (row + 1) * x.width(); ++j) sums[j] += share * added[j];
    }
  }
  void zero(const Rows& x) const override { std::ranges::fill(host_values<float>(x), 0.0f); }
  void copy(const Rows& x, const Rows& out) const override {
    std::ranges::copy(host_values<float>(x), host_values<float>(out).begin());
  }
  void copy_heads(const Rows& x, std::size_t heads, std::size_t from, std::size_t count, const Rows& out,
                  std::size_t to) const override {
    const std::size_t width = x.width() / heads;
    for (std::size_t row = 0; row < x.count(); ++row)
      for (std::size_t head = 0; head < heads; ++head)
        std::copy_n(host_values<float>(x).data() + row * x.width() + head * width + from, count,
                    host_values<float>(out).data() + row * out.width() + to + head * count);
  }

  void rope_angles(std::span<const double> frequencies, std::span<const std::size_t> positions,
                   const Rows& angles) const override {
    const std::size_t pairs = frequencies.size();
    float* out = host_values<float>(angles).data();
    for_each_token(positions.size(), [&](std::size_t i) {
      for (std::size_t j = 0; j < pairs; ++j) {
        const double angle = static_cast<double>(positions[i]) * frequencies[j];
        out[i * 2 * pairs + j] = static_cast<float>(std::cos(angle));
        out[i * 2 * pairs + pairs + j] = static_cast<float>(std::sin(angle));
      }
    });
  }
  void rope(const Rows& angles, std::size_t head_dim, const Rows& x) const override {
    const std::size_t pairs = angles.width() / 2;
    for_each_token(x.count(), [&](std::size_t token) {
      const float* cosine = host_values<float>(angles).data() + token * 2 * pairs;
      const float* sine = cosine + pairs;
      float* head = host_values<float>(x).data() + token * x.width();
      for (const float* end = head + x.width(); head != end; head += head_dim)
        for (std::size_t j = 0; j < pairs; ++j) {
          const float low = head[j], high = head[j + pairs];
          head[j] = low * cosine[j] - high * sine[j];
          head[j + pairs] = low * sine[j] + high * cosine[j];
        }
    });
  }

  void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values) const override {
    cpu::append(chunks, keys, values);
  }
  void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
                 const Rows& out) const override {
    cpu::attention(chunks, shape, queries, out);
  }

  void delta_gates(const Rows& beta, const Rows& decay, const Vector& rate,
                   const Vector& bias) const override {
    cpu::delta_gates(beta, decay, host_values<float>(rate), host_values<float>(bias));
  }
  void causal_convolution(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Vector& taps,
                          const Rows& x, const Rows& out) const override {
    cpu::causal_convolution(chunks, shape, host_values<float>(taps), x, out);
  }
  void delta_rule(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Rows& mixed,
                  const Rows& beta, const Rows& decay, const Rows& out) const override {
    cpu::delta_rule(chunks, shape, mixed, beta, decay, out);
  }

  void route(const Rows& logits, const RouteOptions& options, Routing& routing) const override {
    routing.visits.resize(logits.count() * options.active);
    for (std::size_t token = 0; token < logits.count(); ++token) {
      const std::span<float> row = host_values<float>(logits.range(token, 1));
      scaled_softmax(row, 1.0f);
      choose_experts(std::span<const float>(row), options,
                     std::span(routing.visits).subspan(token * options.active, options.active));
    }
    const std::span<const float> all = host_values<float>(logits);
    routing.probabilities.assign(all.begin(), all.end());
  }
  void gather(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const override {
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::copy_n(host_values<float>(x).data() + rows[i].token * x.width(), x.width(),
                  host_values<float>(out).data() + i * x.width());
  }
  void scatter_add(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const override {
    const std::size_t width = x.width();
    for (const GatheredRow& row : rows) {
      const float* from = host_values<float>(x).data() + row.slot * width;
      float* to = host_values<float>(out).data() + row.token * width;
      const auto weight = static_cast<float>(row.weight);
      for (std::size_t j = 0; j < width; ++j) to[j] += weight * from[j];
    }
  }
};

}  // namespace

const Ops& cpu_ops() {
  static const CpuOps ops;
  return ops;
}

}  // namespace assay
