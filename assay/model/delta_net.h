#pragma once
// Gated delta net, the linear attention of Qwen3-Next and Qwen3.5 (docs/formats.md, "Gated delta net"; Yang
// et al. 2024, "Gated Delta Networks"): a causal convolution over q, k and v, and a matrix S for each value
// head that decays by g and takes up what the key does not yet give: S <- g S + beta (v - g S k) k^T, output
// S q.
#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/weights.h"

namespace assay {

class DeltaNet final : public Mixer {
 public:
  /// Takes the tensors of `module` ("model.layers.0.linear_attn"); `layer` is where its state is kept.
  DeltaNet(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer);

  void forward(const Batch& batch, const Rows& x, const Rows& out, Workspace& workspace) const override;
  double flops_per_token() const override;

 private:
  /// Of all tokens: mixed [tokens, channels] as q, k, v; output gate z [tokens, values]; beta and what
  /// becomes the decay, [tokens, value_heads] each.
  struct Projected {
    Rows mixed, gate, beta, decay;
  };
  void take_vectors(WeightLoader& loader, const std::string& module);
  void project_fused(const Rows& x, const Projected& made, Workspace& workspace) const;

  const Ops& ops_;
  int layer_;
  DeltaShape shape_;
  bool fused_;
  float epsilon_;
  Projection in_, gates_;       // fused: q, k, v, z and b, a by key head
  Projection qkv_, z_, b_, a_;  // or each for itself
  Projection output_;
  VectorPtr taps_;         // [kernel, channels]
  VectorPtr rate_, bias_;  // [value_heads]: A_log and dt_bias
  VectorPtr norm_;         // [value_dim]
};

}  // namespace assay
