#include "assay/kernels/observed_ops.h"

#include <utility>

namespace assay {
namespace {

class ObservedOps final : public Ops {
 public:
  ObservedOps(const Ops& inner, Observer observer) : inner_(inner), observer_(std::move(observer)) {}

  std::string_view name() const override { return inner_.name(); }
  Element element() const override { return inner_.element(); }
  std::shared_ptr<const Linear> matrix(PackedMatrix matrix, const LinearOptions& options) const override {
    return inner_.matrix(std::move(matrix), options);
  }
  VectorPtr vector(std::span<const double> values) const override { return inner_.vector(values); }
  std::unique_ptr<LayerState> layer_state(const LayerStateShape& shape) const override {
    return inner_.layer_state(shape);
  }
  void write(std::span<const float> values, const Rows& out) const override { inner_.write(values, out); }
  void read(const Rows& x, std::span<float> out) const override { inner_.read(x, out); }
  std::span<const float> on_host(const Rows& x, std::vector<float>& copy) const override {
    return inner_.on_host(x, copy);
  }
  void linear_group(std::span<const Linear* const> matrices, const Rows& x,
                    std::span<const Rows> outs) const override {
    if (observer_.linear) observer_.linear(matrices, x);
    inner_.linear_group(matrices, x, outs);
  }
  void embedding(const Linear& matrix, std::span<const std::int32_t> ids, const Rows& out) const override {
    inner_.embedding(matrix, ids, out);
  }
  void rms_norm(const Rows& x, const Vector& weight, float epsilon, const Rows& out) const override {
    inner_.rms_norm(x, weight, epsilon, out);
  }
  void l2_norm(const Rows& x, std::size_t first, std::size_t heads, std::size_t width,
               std::size_t divisor) const override {
    inner_.l2_norm(x, first, heads, width, divisor);
  }
  void add(const Rows& x, const Rows& y) const override { inner_.add(x, y); }
  void add_bias(const Rows& x, const Vector& bias) const override { inner_.add_bias(x, bias); }
  void silu(const Rows& x) const override { inner_.silu(x); }
  void silu_multiply(const Rows& gate, const Rows& up) const override { inner_.silu_multiply(gate, up); }
  void sigmoid_multiply(const Rows& x, const Rows& gate) const override { inner_.sigmoid_multiply(x, gate); }
  void add_gated(const Rows& x, const Rows& gate, const Rows& y) const override {
    inner_.add_gated(x, gate, y);
  }
  void zero(const Rows& x) const override { inner_.zero(x); }
  void copy(const Rows& x, const Rows& out) const override { inner_.copy(x, out); }
  void copy_heads(const Rows& x, std::size_t heads, std::size_t from, std::size_t count, const Rows& out,
                  std::size_t to) const override {
    inner_.copy_heads(x, heads, from, count, out, to);
  }
  void rope_angles(std::span<const double> frequencies, std::span<const std::size_t> positions,
                   const Rows& angles) const override {
    inner_.rope_angles(frequencies, positions, angles);
  }
  void rope(const Rows& angles, std::size_t head_dim, const Rows& x) const override {
    inner_.rope(angles, head_dim, x);
  }
  void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values) const override {
    inner_.append(chunks, keys, values);
  }
  void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
                 const Rows& out) const override {
    inner_.attention(chunks, shape, queries, out);
  }
  void delta_gates(const Rows& beta, const Rows& decay, const Vector& rate,
                   const Vector& bias) const override {
    inner_.delta_gates(beta, decay, rate, bias);
  }
  void causal_convolution(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Vector& taps,
                          const Rows& x, const Rows& out) const override {
    inner_.causal_convolution(chunks, shape, taps, x, out);
  }
  void delta_rule(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Rows& mixed,
                  const Rows& beta, const Rows& decay, const Rows& out) const override {
    inner_.delta_rule(chunks, shape, mixed, beta, decay, out);
  }
  void route(const Rows& logits, const RouteOptions& options, Routing& routing) const override {
    inner_.route(logits, options, routing);
    if (!observer_.route) return;
    const std::size_t experts = logits.width();
    for (std::size_t token = 0; token < logits.count(); ++token)
      observer_.route(options.layer, std::span(routing.probabilities).subspan(token * experts, experts),
                      std::span(routing.visits).subspan(token * options.active, options.active));
  }
  void gather(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const override {
    inner_.gather(x, rows, out);
  }
  void scatter_add(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const override {
    inner_.scatter_add(x, rows, out);
  }

 private:
  const Ops& inner_;
  Observer observer_;
};

}  // namespace

std::unique_ptr<const Ops> observed_ops(const Ops& inner, Observer observer) {
  return std::make_unique<const ObservedOps>(inner, std::move(observer));
}

}  // namespace assay
