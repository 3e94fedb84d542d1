#pragma once
// Grouped-query causal attention with rotary positions (docs/formats.md, "Attention"): query head h reads
// key/value head h / (heads / kv_heads), scores are scaled by head_dim^-1/2, softmax. Gated (Qwen3-Next):
// q_proj gives each head its query and behind it a gate, and what the head mixed is multiplied by
// sigmoid(gate).
#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/weights.h"

namespace assay {

class Attention final : public Mixer {
 public:
  /// Takes the tensors of `module` ("model.layers.0.self_attn"); `layer` is where its keys and values are
  /// kept.
  Attention(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer);

  void forward(const Batch& batch, const Rows& x, const Rows& out, Workspace& workspace) const override;
  double flops_per_token() const override;

 private:
  const Ops& ops_;
  int layer_;
  AttentionShape shape_;
  bool gated_;
  float epsilon_;
  Projection query_, key_, value_, output_;
  VectorPtr query_norm_, key_norm_;  // [head_dim], null: none
};

}  // namespace assay
