#pragma once
// Gated delta net, the linear attention of Qwen3-Next and Qwen3.5 (docs/formats.md, "Gated delta net"; Yang
// et al. 2024, "Gated Delta Networks"): a causal convolution over q, k and v, and a matrix S for each value
// head that decays by g and takes up what the key does not yet give: S <- g S + beta (v - g S k) k^T, output
// S q.
#include "assay/base/float_buffer.h"
#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/weights.h"

namespace assay {

class DeltaNet final : public Mixer {
 public:
  /// Takes the tensors of `module` ("model.layers.0.linear_attn"); `layer` is where its state is kept.
  DeltaNet(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer);

  /// What a sequence carries: the last kernel - 1 inputs of the convolution, [kernel - 1, channels], then S,
  /// [value_heads, value_dim, key_dim].
  void forward(const Batch& batch, std::span<const float> x, std::span<float> out) const override;
  double flops_per_token() const override;

 private:
  /// Of all tokens: mixed [tokens, channels] as q, k, v; output gate z [tokens, values]; beta and the
  /// logarithm of the decay, [tokens, value_heads] each.
  struct Projected {
    FloatBuffer mixed, gate, beta, decay;
  };
  Projected project(std::span<const float> x, std::size_t tokens) const;
  void project_fused(std::span<const float> x, std::size_t tokens, Projected& made) const;
  void project_apart(std::span<const float> x, std::size_t tokens, Projected& made) const;
  void convolve(const BatchChunk& chunk, std::span<const float> mixed, std::span<float> out) const;
  void normalise_keys(std::span<float> mixed, std::size_t tokens) const;
  void recur(const BatchChunk& chunk, std::size_t head, std::span<const float> mixed,
             const Projected& projected, std::span<float> out) const;

  int layer_;
  DeltaNetConfig config_;
  std::size_t key_heads_, value_heads_, key_dim_, value_dim_, kernel_, channels_, values_;
  float epsilon_;
  Projection in_, gates_;       // fused: q, k, v, z and b, a by key head
  Projection qkv_, z_, b_, a_;  // or each for itself
  Projection output_;
  std::vector<float> taps_;         // [kernel, channels]
  std::vector<float> rate_, bias_;  // [value_heads]: exp(A_log) and dt_bias
  std::vector<float> norm_;         // [value_dim]
};

}  // namespace assay
