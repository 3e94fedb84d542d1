#pragma once
// The operations that a transformer block is composed of. model/ holds no arithmetic: what it computes is a
// sequence of these calls, and a backend is one implementation of all of them. `cpu` is the fast one;
// `reference` is plain float64 loops, which every other is tested against.
//
// For who writes a backend:
//  - Rows of a call are the backend's own element (`element()`), of the shapes said at each operation;
//  callers
//    assert them, a backend may rely on them. T tokens are the rows of a batch.
//  - `out` may be the same memory as an input only where an operation says so; partial overlap never.
//  - Operations are const and keep nothing but what a LayerState is for; several threads may call them at
//  once
//    with rows and states of their own.
//  - Errors: a weight that does not decode is an Error from the matrix; nothing else throws but bad_alloc.
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "assay/kernels/layer_state.h"
#include "assay/kernels/linear.h"
#include "assay/kernels/rows.h"

namespace assay {

/// Weights of an operation that are no matrix (norms, biases, taps), as a backend keeps them.
class Vector {
 public:
  virtual ~Vector() = default;
  virtual std::size_t size() const = 0;
};
using VectorPtr = std::shared_ptr<const Vector>;

struct AttentionShape {
  std::size_t heads = 0, kv_heads = 0, head_dim = 0;
};

struct DeltaShape {
  std::size_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  std::size_t kernel = 0;  // taps of the convolution

  std::size_t channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
  std::size_t values() const { return value_heads * value_dim; }
  /// What a layer carries: the last kernel - 1 inputs of the convolution, [kernel - 1, channels], then the
  /// state S of each value head, [value_dim, key_dim].
  std::size_t carried() const { return (kernel - 1) * channels() + values() * key_dim; }
};

/// One expert that a token visits, and how much it counts.
struct Visit {
  std::uint32_t expert;
  double weight;  // of the backend's precision
};

struct RouteOptions {
  std::size_t active = 0;          // experts of a token
  std::size_t trained_active = 0;  // as the model was trained
  bool normalise = false;          // weights of the chosen are divided by their sum
  int layer = 0;                   // whose router it is: no matter to a backend, but to who looks on
};

/// The choices of all tokens of a batch.
struct Routing {
  std::vector<Visit> visits;         // [T, active], by falling probability
  std::vector<float> probabilities;  // [T, experts]
};

/// Some rows of a batch, and where each one's result lies among those of all visits.
struct GatheredRow {
  std::uint32_t token, slot;
  double weight;
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual std::string_view name() const = 0;
  virtual Element element() const = 0;

  // ---- What a model holds.
  virtual std::shared_ptr<const Linear> matrix(PackedMatrix matrix, const LinearOptions& options) const = 0;
  virtual VectorPtr vector(std::span<const double> values) const = 0;
  virtual std::unique_ptr<LayerState> layer_state(const LayerStateShape& shape) const = 0;

  // ---- Between the host and rows.
  virtual void write(std::span<const float> values, const Rows& out) const = 0;
  virtual void read(const Rows& x, std::span<float> out) const = 0;
  /// The values where they lie, when that is f32 in the host's memory; else read into `copy`.
  virtual std::span<const float> on_host(const Rows& x, std::vector<float>& copy) const = 0;

  // ---- Linear algebra.
  /// outs[i] = x matrices[i]^T: matrices that share their input (q, k, v; gate, up). No out may share memory
  /// with x.
  virtual void linear_group(std::span<const Linear* const> matrices, const Rows& x,
                            std::span<const Rows> outs) const = 0;
  /// out[T, K] = rows `ids` of the matrix.
  virtual void embedding(const Linear& matrix, std::span<const std::int32_t> ids, const Rows& out) const = 0;

  // ---- Row by row. In place is legal in all of them.
  /// out = x / sqrt(mean(x^2) + epsilon) * weight; x, out [R, weight.size()].
  virtual void rms_norm(const Rows& x, const Vector& weight, float epsilon, const Rows& out) const = 0;
  /// Each run of `width` values of columns [first, first + heads * width) of x becomes x / sqrt(sum(x^2) +
  /// 1e-6) / sqrt(divisor).
  virtual void l2_norm(const Rows& x, std::size_t first, std::size_t heads, std::size_t width,
                       std::size_t divisor) const = 0;
  virtual void add(const Rows& x, const Rows& y) const = 0;                  // x += y
  virtual void add_bias(const Rows& x, const Vector& bias) const = 0;        // x += bias, each row
  virtual void silu(const Rows& x) const = 0;                                // x = x sigmoid(x)
  virtual void silu_multiply(const Rows& gate, const Rows& up) const = 0;    // gate = gate sigmoid(gate) up
  virtual void sigmoid_multiply(const Rows& x, const Rows& gate) const = 0;  // x = x sigmoid(gate)
  /// x += sigmoid(gate) * y, gate [T, 1].
  virtual void add_gated(const Rows& x, const Rows& gate, const Rows& y) const = 0;
  virtual void zero(const Rows& x) const = 0;
  virtual void copy(const Rows& x, const Rows& out) const = 0;
  /// out[t, to + h * count + i] = x[t, h * (x.width() / heads) + from + i], i < count: takes fused
  /// projections apart, which lie head by head.
  virtual void copy_heads(const Rows& x, std::size_t heads, std::size_t from, std::size_t count,
                          const Rows& out, std::size_t to) const = 0;

  // ---- Rotary positions (half-split: dimension j of a head turns with j + pairs).
  /// Cosines, then sines, of positions[t] * frequencies[j]; angles [T, 2 * pairs]. Angles are taken in f64:
  /// an f32 angle is off by 1e-3 at position 16384.
  virtual void rope_angles(std::span<const double> frequencies, std::span<const std::size_t> positions,
                           const Rows& angles) const = 0;
  /// Turns the leading 2 * pairs values of each run of head_dim values of x [T, heads * head_dim].
  virtual void rope(const Rows& angles, std::size_t head_dim, const Rows& x) const = 0;

  // ---- Attention.
  /// Keys and values [T, kv_heads * head_dim] of each chunk go behind its sequence.
  virtual void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values) const = 0;
  /// Causal: query head h reads key/value head h / (heads / kv_heads); scores scaled by head_dim^-1/2,
  /// softmax. The chunks' own keys and values have been appended. queries, out [T, heads * head_dim], not the
  /// same memory.
  virtual void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
                         const Rows& out) const = 0;

  // ---- Delta nets (Yang et al. 2024, "Gated Delta Networks").
  /// beta = sigmoid(beta); decay = exp(-exp(rate) softplus(decay + bias)); both [T, value_heads].
  virtual void delta_gates(const Rows& beta, const Rows& decay, const Vector& rate,
                           const Vector& bias) const = 0;
  /// out[t, c] = sum over i of taps[i, c] * x[t - kernel + 1 + i, c], inputs before the chunk from its state;
  /// the last inputs stay behind. x, out [T, channels], not the same memory; taps [kernel, channels].
  virtual void causal_convolution(std::span<const LayerChunk> chunks, const DeltaShape& shape,
                                  const Vector& taps, const Rows& x, const Rows& out) const = 0;
  /// Token by token S <- g S + beta (v - g S k) k^T, out = S q. mixed [T, channels] is q, k, v; beta, decay
  /// (g) [T, value_heads]; out [T, values].
  virtual void delta_rule(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Rows& mixed,
                          const Rows& beta, const Rows& decay, const Rows& out) const = 0;

  // ---- Mixtures.
  /// The active experts of each token by falling probability, softmax over all (of equals the first). logits
  /// [T, experts] become probabilities. Where another number than the trained one is active and weights are
  /// not divided by their sum, they sum to what the trained number's would have.
  virtual void route(const Rows& logits, const RouteOptions& options, Routing& routing) const = 0;
  /// out[i] = x[rows[i].token].
  virtual void gather(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const = 0;
  /// out[row.token] += row.weight * x[row.slot], in the order of `rows`.
  virtual void scatter_add(const Rows& x, std::span<const GatheredRow> rows, const Rows& out) const = 0;
};

/// float32 in the host's memory, on all threads, with the fastest kernels this machine runs.
const Ops& cpu_ops();
/// float64 in the host's memory, plain loops; matrices are decoded as they are read.
const Ops& reference_ops();

}  // namespace assay
