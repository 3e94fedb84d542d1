#pragma once
// What a model is, from config.json of any age (rope_theta or rope_parameters, text_config nested or not).
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/kernels/ops.h"

namespace assay {

struct Family;

enum class MixerKind { attention, delta_net };
enum class FeedForwardKind { dense, mixture };

/// What the block of one layer is composed of.
struct BlockConfig {
  MixerKind mixer = MixerKind::attention;
  FeedForwardKind feed_forward = FeedForwardKind::dense;
};

/// Gated delta net: `value_heads` heads, each `value_heads / key_heads` of them reading one key head.
struct DeltaNetConfig {
  int key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  int kernel = 0;  // taps of the causal convolution
  bool fused_projections =
      false;  // q, k, v, z interleaved by key head (Qwen3-Next) or stored apart (Qwen3.5)

  int channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }  // convolved: q, k, v
};

/// Mixture of experts.
struct MixtureConfig {
  int experts = 0, active = 0;  // active: of a token
  int trained_active = 0;       // active as the config says; another number is the user's choice
  int intermediate = 0;         // of an expert
  int shared_intermediate = 0;  // of the expert that every token visits; 0: none
  bool normalise = false;       // weights of the chosen experts are divided by their sum
};

/// Llama-3 frequency scaling of RoPE.
struct RopeScaling {
  double factor = 1, low_frequency_factor = 1, high_frequency_factor = 4, original_length = 8192;
  bool operator==(const RopeScaling&) const = default;
};

struct ModelConfig {
  const Family* family = nullptr;  // of the table (families/families.h)
  int layers = 0, hidden = 0, intermediate = 0, vocabulary = 0;
  std::vector<BlockConfig> blocks;  // one for each layer
  int heads = 0, kv_heads = 0, head_dim = 0;
  int rotary_dim = 0;  // leading dimensions of a head that RoPE turns
  int max_positions = 0;
  float norm_epsilon = 1e-6f;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  bool tied_head = false;
  bool attention_bias = false, output_bias = false;  // of q, k and v; of o
  bool mlp_bias = false;
  bool query_key_norm = false;           // Qwen3: RMS norm of each q and k head before RoPE
  bool gated_query = false;              // q_proj gives each head a gate of its output too
  bool shifted_norms = false;            // stored norms are w of (1 + w), those of delta nets excepted
  DeltaNetConfig delta_net;              // where a block has one
  MixtureConfig mixture;                 // likewise
  std::vector<std::int32_t> end_tokens;  // of generation_config, else of config

  /// Floats that a sequence keeps: for each token (keys and values), and once (states of delta nets).
  std::uint64_t cache_floats_per_token() const;
  std::uint64_t carry_floats(MixerKind mixer) const;  // of one layer
  std::uint64_t carry_floats() const;                 // of all

  DeltaShape delta_shape() const;
  /// What a layer keeps of a sequence.
  LayerStateShape layer_state(int layer) const;
};

/// Where the language model's keys are: text_config of multimodal models, else the config itself.
const Json& text_config(const Json& config);

/// Throws Error for a missing key, a value out of bounds, or a feature that would be ignored otherwise
/// (sliding windows, unknown activations, unknown rope types, unsupported model_type).
ModelConfig parse_model_config(const Json& json, const Json* generation_config, const std::string& origin);

/// The config.json that says all of it in one spelling and leaves nothing out: what containers that keep no
/// config.json are written from. Throws Error for families whose blocks are more than Llama's with experts.
Json config_json(const ModelConfig& config, const std::string& origin);

}  // namespace assay
