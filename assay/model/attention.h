#pragma once
// Grouped-query causal attention with rotary positions (docs/formats.md, "Attention"): query head h reads
// key/value head h / (heads / kv_heads), scores are scaled by head_dim^-1/2, softmax in f32. Gated
// (Qwen3-Next): q_proj gives each head its query and behind it a gate, and what the head mixed is multiplied
// by sigmoid(gate).
#include "assay/base/float_buffer.h"
#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/weights.h"

namespace assay {

class Attention final : public Mixer {
 public:
  /// Takes the tensors of `module` ("model.layers.0.self_attn"); `layer` is where its keys and values are
  /// kept.
  Attention(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer);

  void forward(const Batch& batch, std::span<const float> x, std::span<float> out) const override;
  double flops_per_token() const override;

 private:
  /// A run of queries of one head of one chunk.
  struct Task {
    const BatchChunk* chunk;
    std::size_t head, first, count;  // queries [first, first + count) of the chunk
  };

  /// Queries [tokens, heads, head_dim]; gates of the same shape, empty where there are none.
  struct Queries {
    FloatBuffer queries, gates;
  };
  Queries project_queries(std::span<const float> x, std::size_t tokens) const;
  std::vector<Task> split(const Batch& batch) const;
  void append_keys_and_values(const Batch& batch, std::span<const float> keys,
                              std::span<const float> values) const;
  void attend(const Task& task, std::span<const float> queries, std::span<float> out) const;

  int layer_;
  std::size_t heads_, kv_heads_, head_dim_;
  bool gated_;
  float epsilon_;
  Projection query_, key_, value_, output_;
  std::vector<float> query_norm_, key_norm_;  // [head_dim], empty: none
};

}  // namespace assay
