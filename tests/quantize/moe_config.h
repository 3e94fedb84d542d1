#pragma once
// The config of a small mixture of experts, for tests that make one.
#include <string>

#include "assay/base/json.h"

namespace assay::test {

/// Every key that a Qwen mixture of experts or hybrid asks for: two layers, one of attention.
inline Json moe_config(const std::string& type, int experts = 4) {
  return {{"model_type", type},
          {"hidden_size", 64},
          {"intermediate_size", 64},
          {"num_hidden_layers", 2},
          {"full_attention_interval", 2},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"head_dim", 32},
          {"vocab_size", 50},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 500.0},
          {"tie_word_embeddings", true},
          {"linear_num_key_heads", 1},
          {"linear_num_value_heads", 2},
          {"linear_key_head_dim", 32},
          {"linear_value_head_dim", 32},
          {"linear_conv_kernel_dim", 4},
          {"num_experts", experts},
          {"num_experts_per_tok", 2},
          {"moe_intermediate_size", 64},
          {"shared_expert_intermediate_size", 64}};
}

}  // namespace assay::test
