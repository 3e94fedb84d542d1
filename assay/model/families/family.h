#pragma once
// A family of models as one record: how its configs spell things, what its blocks are made of, and how
// checkpoints of several makers name and store them. The parser of configs (config.cpp), the list of tensors
// (expected_tensors.cpp) and mlx-lm's conventions (recipes/mlx_conventions.h) read it; none of them asks for
// a model_type. What stands here by default is what Llama's descendants have in common.
#include <optional>
#include <string>
#include <string_view>

#include "assay/base/json.h"

namespace assay {

/// Which projections of attention add a bias.
struct AttentionBiases {
  bool inputs = false;  // q, k and v
  bool output = false;  // o
};
/// The key attention_bias: all four of them or none.
AttentionBiases biases_by_key(const Json& text, const std::string& origin);

/// How a layer's experts lie in a checkpoint: a tensor each, gate and up of all in one, or a stack of each
/// kind as mlx-lm has them.
enum class ExpertStorage { apart, fused, stacked };

/// Are the weights of the chosen experts divided by their sum? norm_topk_prob says so where it stands, but to
/// a family that always does.
enum class ExpertSum { kept, divided, always_divided };

struct MixtureTraits {
  bool local_count_first = false;  // num_local_experts goes before num_experts
  bool shared_expert = false;      // one that every token visits
  ExpertSum sum = ExpertSum::kept;
  ExpertStorage storage = ExpertStorage::apart;  // in Hugging Face folders
};

struct DeltaNetTraits {
  bool fused_projections = false;  // q, k, v, z and b, a in one matrix each
};

struct Family {
  // Names
  std::string_view model_type;           // of the text model
  std::string_view composite_type = {};  // of a config that may hold it as text_config; "": none
  std::string_view mlx_prefix = {};      // mlx-lm puts it before "model." and "lm_head."

  // What its configs leave out or switch on
  bool theta_has_default = false;   // no rope_theta means 10000
  bool windows_by_default = false;  // sliding_window counts unless use_sliding_window is false
  /// RoPE turns a part of each head: this one, unless the config has a partial_rotary_factor. None: all of
  /// it, always.
  std::optional<double> rotary_factor = {};

  // Blocks
  AttentionBiases (*attention_biases)(const Json& text, const std::string& origin) = biases_by_key;
  bool mlp_biases = false;                    // mlp_bias may be true
  bool query_key_norm = false;                // RMS norm of each q and k head before RoPE
  bool gated_query = false;                   // q_proj gives each head a gate of its output too
  bool shifted_norms = false;                 // Hugging Face folders hold w of norms that multiply by (1 + w)
  std::optional<MixtureTraits> mixture = {};  // experts, in some layers at least
  std::optional<DeltaNetTraits> delta_net = {};  // between the layers of attention
};

}  // namespace assay
