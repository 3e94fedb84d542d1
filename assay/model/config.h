#pragma once
// What a model is, from config.json of any age (rope_theta or rope_parameters, text_config nested or not).
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

enum class Architecture { llama, qwen3 };

/// Llama-3 frequency scaling of RoPE.
struct RopeScaling {
  double factor = 1, low_frequency_factor = 1, high_frequency_factor = 4, original_length = 8192;
  bool operator==(const RopeScaling&) const = default;
};

struct ModelConfig {
  Architecture architecture = Architecture::llama;
  int layers = 0, hidden = 0, intermediate = 0, vocabulary = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;
  int max_positions = 0;
  float norm_epsilon = 1e-6f;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  bool tied_head = false;
  bool attention_bias = false, mlp_bias = false;
  bool query_key_norm = false;           // Qwen3: RMS norm of each q and k head before RoPE
  std::vector<std::int32_t> end_tokens;  // from config and generation_config
};

/// Where the language model's keys are: text_config of multimodal models, else the config itself.
const Json& text_config(const Json& config);

/// Throws Error for a missing key, a value out of bounds, or a feature that would be ignored otherwise
/// (sliding windows, unknown activations, unknown rope types, unsupported model_type).
ModelConfig parse_model_config(const Json& json, const Json* generation_config, const std::string& origin);

}  // namespace assay
