#pragma once
// Small random models for the tests of rotations.
#include <string>
#include <vector>

#include "assay/rotation/rotation.h"
#include "tests/model/reference_forward.h"

namespace assay::test {

inline const std::vector<std::int32_t> kTokens = {3, 1, 4, 1, 5, 9, 2, 6};

/// Two layers, grouped queries, and what `more` says.
inline Json config_of(const std::string& type, int hidden, const Json& more = Json::object()) {
  Json config = {{"model_type", type},
                 {"hidden_size", hidden},
                 {"intermediate_size", 40},
                 {"vocab_size", 33},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"head_dim", 8},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 10000.0},
                 {"max_position_embeddings", 64},
                 {"tie_word_embeddings", false}};
  config.update(more);
  return config;
}
inline Json tied_qwen() {
  return config_of("qwen3", 48, {{"tie_word_embeddings", true}});
}
/// Delta nets and gated attention, shifted norms, a tied head; projections fused or apart.
inline Json hybrid(const std::string& type = "qwen3_5_text") {
  return config_of(type, 32,
                   {{"tie_word_embeddings", true},
                    {"full_attention_interval", 2},
                    {"partial_rotary_factor", 0.5},
                    {"linear_num_key_heads", 2},
                    {"linear_num_value_heads", 4},
                    {"linear_key_head_dim", 8},
                    {"linear_value_head_dim", 6},
                    {"linear_conv_kernel_dim", 4},
                    {"num_experts", 0}});
}
/// Every bias that a model may have.
inline Json llama_with_biases() {
  return config_of("llama", 32, {{"attention_bias", true}, {"mlp_bias", true}});
}

inline ModelConfig parsed(const Checkpoint& checkpoint) {
  return parse_model_config(checkpoint.config, nullptr, "test");
}

}  // namespace assay::test
