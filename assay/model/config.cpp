#include "assay/model/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/config_spellings.h"
#include "assay/model/families/families.h"

namespace assay {

namespace {

// Bounds far above any published model. All products of two of them fit 64 bits with room to spare, so sizes
// derived from a config cannot wrap.
constexpr int kMaxLayers = 4096;
constexpr int kMaxHeads = 1 << 14;
constexpr int kMaxHeadDim = 1 << 14;
constexpr int kMaxKernel = 256;
constexpr int kMaxExperts = 1 << 16;
constexpr int kMaxWidth = 1 << 24;
constexpr int kMaxPositions = 1 << 28;

const Family& supported_family(const std::string& model_type, const std::string& origin) {
  if (const Family* family = find_family(model_type)) return *family;
  std::string names;
  for (const Family* family : all_families())
    for (const std::string_view name : {family->model_type, family->composite_type})
      if (!name.empty()) names += (names.empty() ? "" : ", ") + std::string(name);
  fail("{}: model_type '{}' cannot be run; supported: {}", origin, model_type, names);
}

int bounded(const Json& text, const char* key, int maximum, const std::string& origin) {
  const int value = json_get<int>(text, key, origin);
  if (value < 1 || value > maximum) fail("{}: {} is {}, expected 1..{}", origin, key, value, maximum);
  return value;
}

int bounded_or(const Json& text, const char* key, int fallback, int maximum, const std::string& origin) {
  return find_value(text, key) != nullptr ? bounded(text, key, maximum, origin) : fallback;
}

double positive(const Json& object, const char* key, const std::string& origin) {
  const double value = json_get<double>(object, key, origin);
  if (!(value > 0) || !std::isfinite(value))
    fail("{}: {} is {}, expected a positive number", origin, key, value);
  return value;
}

/// A feature that this forward pass does not have: the key must be absent or hold the value that switches it
/// off.
struct NeutralValue {
  const char* key;
  double neutral;
};
constexpr std::array kNeutralValues = {
    NeutralValue{"pretraining_tp", 1},          NeutralValue{"logit_scale", 1},
    NeutralValue{"embedding_multiplier", 1},    NeutralValue{"residual_multiplier", 1},
    NeutralValue{"logits_scaling", 1},          NeutralValue{"attn_logit_softcapping", 0},
    NeutralValue{"final_logit_softcapping", 0},
};
/// As above, of models without experts.
constexpr std::array kNoExperts = {
    NeutralValue{"num_experts", 0},
    NeutralValue{"num_local_experts", 0},
    NeutralValue{"moe_intermediate_size", 0},
    NeutralValue{"num_experts_per_tok", 0},
    NeutralValue{"shared_expert_intermediate_size", 0},
};

void refuse_unless_neutral(const Json& object, const NeutralValue& rule, const std::string& origin) {
  const Json* value = find_value(object, rule.key);
  if (value == nullptr || (value->is_number() && value->get<double>() == rule.neutral)) return;
  fail("{}: {} is {}, only {} (or no such key) is supported", origin, rule.key, value->dump(), rule.neutral);
}

/// Which layers mix by attention: layer_types, or every full_attention_interval-th of a hybrid model.
void parse_mixers(const Json& text, ModelConfig& config, const std::string& origin) {
  const bool hybrid = config.family->delta_net.has_value();
  if (const Json* types = find_value(text, "layer_types")) {
    if (!types->is_array() || types->size() != config.blocks.size())
      fail("{}: layer_types must be a list of num_hidden_layers = {} entries", origin, config.layers);
    for (std::size_t layer = 0; layer < types->size(); ++layer) {
      const Json& type = (*types)[layer];
      if (type == "linear_attention" && hybrid)
        config.blocks[layer].mixer = MixerKind::delta_net;
      else if (type != "full_attention")
        fail("{}: layer_types holds {}, only \"full_attention\"{} is supported", origin, type.dump(),
             hybrid ? " or \"linear_attention\"" : "");
    }
  } else if (hybrid) {
    const int interval = bounded_or(text, "full_attention_interval", 4, kMaxLayers, origin);
    for (int layer = 0; layer < config.layers; ++layer)
      if ((layer + 1) % interval != 0)
        config.blocks[static_cast<std::size_t>(layer)].mixer = MixerKind::delta_net;
  }
}

void parse_delta_net(const Json& text, const DeltaNetTraits& traits, ModelConfig& config,
                     const std::string& origin) {
  DeltaNetConfig& net = config.delta_net;
  net.key_heads = bounded(text, "linear_num_key_heads", kMaxHeads, origin);
  net.value_heads = bounded(text, "linear_num_value_heads", kMaxHeads, origin);
  net.key_dim = bounded(text, "linear_key_head_dim", kMaxHeadDim, origin);
  net.value_dim = bounded(text, "linear_value_head_dim", kMaxHeadDim, origin);
  net.kernel = bounded(text, "linear_conv_kernel_dim", kMaxKernel, origin);
  net.fused_projections = traits.fused_projections;
  if (net.value_heads % net.key_heads != 0)
    fail("{}: linear_num_value_heads {} is not a multiple of linear_num_key_heads {}", origin,
         net.value_heads, net.key_heads);
  if (net.kernel < 2) fail("{}: linear_conv_kernel_dim is {}, at least 2 expected", origin, net.kernel);
  if (2 * std::int64_t{net.key_heads} * net.key_dim + 2 * std::int64_t{net.value_heads} * net.value_dim >
      kMaxWidth)
    fail("{}: linear attention wider than {}", origin, kMaxWidth);
}

/// 0: none.
int parse_expert_count(const Json& text, const std::string& origin) {
  const Json* count = find_expert_count(text);
  if (count == nullptr) fail("{}: neither num_experts nor num_local_experts", origin);
  const char* key = count == find_value(text, "num_experts") ? "num_experts" : "num_local_experts";
  const int value = json_get<int>(text, key, origin);
  if (value < 0 || value > kMaxExperts) fail("{}: {} is {}, expected 0..{}", origin, key, value, kMaxExperts);
  return value;
}

/// Layers outside mlp_only_layers, every decoder_sparse_step-th.
void place_mixtures(const Json& text, ModelConfig& config, const std::string& origin) {
  const int step = bounded_or(text, "decoder_sparse_step", 1, kMaxLayers, origin);
  const Json* dense = find_value(text, "mlp_only_layers");
  if (dense != nullptr && !dense->is_array())
    fail("{}: mlp_only_layers is {}, a list expected", origin, dense->dump());
  for (int layer = step - 1; layer < config.layers; layer += step)
    config.blocks[static_cast<std::size_t>(layer)].feed_forward = FeedForwardKind::mixture;
  if (dense == nullptr) return;
  for (const Json& layer : *dense)
    if (layer.is_number_integer() && layer >= 0 && layer < config.layers)
      config.blocks[layer.get<std::size_t>()].feed_forward = FeedForwardKind::dense;
}

void parse_mixture(const Json& text, const MixtureTraits& traits, ModelConfig& config,
                   const std::string& origin) {
  MixtureConfig& mixture = config.mixture;
  mixture.experts = parse_expert_count(text, origin);
  if (mixture.experts == 0) return;
  mixture.active = bounded(text, "num_experts_per_tok", mixture.experts, origin);
  mixture.trained_active = mixture.active;
  mixture.intermediate = bounded(text, "moe_intermediate_size", kMaxWidth, origin);
  if (traits.shared_expert)
    mixture.shared_intermediate = bounded(text, "shared_expert_intermediate_size", kMaxWidth, origin);
  mixture.normalise = traits.sum == ExpertSum::always_divided ||
                      json_get_or<bool>(text, "norm_topk_prob", traits.sum == ExpertSum::divided, origin);
  place_mixtures(text, config, origin);
}

void refuse_sliding_windows(const Json& text, const ModelConfig& config, const std::string& origin) {
  const Json* window = find_value(text, "sliding_window");
  if (window == nullptr) return;
  // Qwen configs carry a window that use_sliding_window = false (its default there) switches off.
  const bool used = json_get_or<bool>(text, "use_sliding_window", config.family->windows_by_default, origin);
  const int first_windowed = json_get_or<int>(text, "max_window_layers", 0, origin);
  if (used && first_windowed < config.layers)
    fail("{}: sliding_window {} is in use, sliding-window attention is not supported", origin,
         window->dump());
}

RopeScaling parse_llama3_scaling(const Json& rope, const std::string& origin) {
  RopeScaling scaling;
  scaling.factor = positive(rope, "factor", origin);
  scaling.low_frequency_factor = positive(rope, "low_freq_factor", origin);
  scaling.high_frequency_factor = positive(rope, "high_freq_factor", origin);
  scaling.original_length = positive(rope, "original_max_position_embeddings", origin);
  if (scaling.factor < 1) fail("{}: rope factor is {}, expected at least 1", origin, scaling.factor);
  if (scaling.low_frequency_factor >= scaling.high_frequency_factor)
    fail("{}: low_freq_factor {} is not below high_freq_factor {}", origin, scaling.low_frequency_factor,
         scaling.high_frequency_factor);
  return scaling;
}

/// rope_type, or type in older files.
std::string rope_type(const Json& rope, const std::string& origin) {
  const auto older = json_get_or<std::string>(rope, "type", "default", origin);
  return json_get_or<std::string>(rope, "rope_type", older, origin);
}

/// Some families turn a part of each head only.
void parse_rotary_dim(const Json* partial_rotary_factor, ModelConfig& config, const std::string& origin) {
  const std::optional<double>& by_family = config.family->rotary_factor;
  config.rotary_dim = config.head_dim;
  double factor = by_family.value_or(1);
  if (partial_rotary_factor != nullptr) {
    const Json holder = {{"partial_rotary_factor", *partial_rotary_factor}};
    if (!by_family) refuse_unless_neutral(holder, {"partial_rotary_factor", 1}, origin);
    factor = positive(holder, "partial_rotary_factor", origin);
    if (factor > 1) fail("{}: partial_rotary_factor is {}, at most 1 expected", origin, factor);
  }
  if (!by_family) return;
  config.rotary_dim = static_cast<int>(config.head_dim * factor);
  if (config.rotary_dim < 2 || config.rotary_dim % 2 != 0)
    fail("{}: RoPE over {} dimensions of a head, pairs expected", origin, config.rotary_dim);
}

void parse_rope(const Json& text, ModelConfig& config, const std::string& origin) {
  const RopeSpelling spelling = find_rope(text);
  if (spelling.object != nullptr) {
    const Json& rope = *spelling.object;
    if (!rope.is_object()) fail("{}: {} is not an object", origin, spelling.object_key);
    const std::string type = rope_type(rope, origin);
    if (type == "llama3") {
      config.rope_scaling = parse_llama3_scaling(rope, origin);
    } else if (type != "default") {
      fail("{}: rope type '{}' is not supported; supported: default, llama3", origin, type);
    } else {
      refuse_unless_neutral(rope, {"factor", 1}, origin);
      for (const auto& [name, value] : rope.items())
        if (value.is_object())
          fail("{}: {}.{} sets RoPE per layer type, which is not supported", origin, spelling.object_key,
               name);
    }
  }
  // A rope_scaling in the place of rope_parameters takes its theta along.
  const bool displaced = spelling.object_key == std::string_view("rope_scaling") &&
                         find_value(text, "rope_parameters") != nullptr;
  if (spelling.theta != nullptr)
    config.rope_theta = positive({{"rope_theta", *spelling.theta}}, "rope_theta", origin);
  else if (!config.family->theta_has_default && !displaced)
    fail("{}: no rope_theta, neither alone nor in rope_parameters", origin);
  parse_rotary_dim(spelling.partial_rotary_factor, config, origin);
}

void parse_end_tokens(const Json* value, ModelConfig& config, const std::string& origin) {
  if (value == nullptr) return;
  const Json list = value->is_array() ? *value : Json::array({*value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= config.vocabulary)
      fail("{}: eos_token_id {} is not a token of the vocabulary (0..{})", origin, id.dump(),
           config.vocabulary - 1);
    const auto token = id.get<std::int32_t>();
    if (std::find(config.end_tokens.begin(), config.end_tokens.end(), token) == config.end_tokens.end())
      config.end_tokens.push_back(token);
  }
}

void parse_heads(const Json& text, ModelConfig& config, const std::string& origin) {
  config.heads = bounded(text, "num_attention_heads", kMaxHeads, origin);
  config.kv_heads = bounded_or(text, "num_key_value_heads", config.heads, kMaxHeads, origin);
  if (config.heads % config.kv_heads != 0)
    fail("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", origin, config.heads,
         config.kv_heads);
  if (find_value(text, "head_dim") == nullptr && config.hidden % config.heads != 0)
    fail("{}: no head_dim, and hidden_size {} is not a multiple of num_attention_heads {}", origin,
         config.hidden, config.heads);
  config.head_dim = bounded_or(text, "head_dim", config.hidden / config.heads, kMaxHeadDim, origin);
  if (config.head_dim % 2 != 0) fail("{}: head_dim {} is odd, RoPE needs pairs", origin, config.head_dim);
  if (std::int64_t{config.heads} * config.head_dim > kMaxWidth)
    fail("{}: {} heads of {} are wider than {}", origin, config.heads, config.head_dim, kMaxWidth);
}

}  // namespace

const Json& text_config(const Json& config) {
  // A type that is a text model itself has no other inside, whatever lies under the key.
  const Json* type = find_value(config, "model_type");
  for (const Family* family : all_families())
    if (type != nullptr && *type == family->model_type) return config;
  const Json* nested = find_value(config, "text_config");
  return nested != nullptr && nested->is_object() ? *nested : config;
}

ModelConfig parse_model_config(const Json& json, const Json* generation_config, const std::string& origin) {
  if (!json.is_object()) fail("{}: config.json is not an object", origin);
  const Json& text = text_config(json);
  const auto model_type = json_get<std::string>(text, "model_type", origin);
  const Family& family = supported_family(model_type, origin);

  ModelConfig config;
  config.family = &family;
  config.query_key_norm = family.query_key_norm;
  config.gated_query = family.gated_query;
  config.shifted_norms = family.shifted_norms;
  config.layers = bounded(text, "num_hidden_layers", kMaxLayers, origin);
  config.hidden = bounded(text, "hidden_size", kMaxWidth, origin);
  config.blocks.resize(static_cast<std::size_t>(config.layers));
  config.vocabulary = bounded(text, "vocab_size", kMaxWidth, origin);
  config.max_positions = bounded(text, "max_position_embeddings", kMaxPositions, origin);
  parse_heads(text, config, origin);

  const double epsilon = positive(text, "rms_norm_eps", origin);
  if (epsilon < 1e-12 || epsilon >= 1) fail("{}: rms_norm_eps is {}, expected 1e-12..1", origin, epsilon);
  config.norm_epsilon = static_cast<float>(epsilon);

  for (const NeutralValue& rule : kNeutralValues) refuse_unless_neutral(text, rule, origin);
  if (family.mixture)
    parse_mixture(text, *family.mixture, config, origin);
  else
    for (const NeutralValue& rule : kNoExperts) refuse_unless_neutral(text, rule, origin);
  const auto is_dense = [](const BlockConfig& block) { return block.feed_forward == FeedForwardKind::dense; };
  if (std::ranges::any_of(config.blocks, is_dense))
    config.intermediate = bounded(text, "intermediate_size", kMaxWidth, origin);
  parse_mixers(text, config, origin);
  if (family.delta_net) parse_delta_net(text, *family.delta_net, config, origin);
  if (family.gated_query && !json_get_or<bool>(text, "attn_output_gate", true, origin))
    fail("{}: attn_output_gate is false, only true is supported", origin);
  const auto activation = json_get_or<std::string>(text, "hidden_act", "silu", origin);
  if (activation != "silu") fail("{}: hidden_act is '{}', only 'silu' is supported", origin, activation);
  refuse_sliding_windows(text, config, origin);
  parse_rope(text, config, origin);

  const bool nested_tie = json_get_or<bool>(text, "tie_word_embeddings", false, origin);
  config.tied_head = json_get_or<bool>(json, "tie_word_embeddings", nested_tie, origin);
  const AttentionBiases biases = family.attention_biases(text, origin);
  config.attention_bias = biases.inputs;
  config.output_bias = biases.output;
  config.mlp_bias = json_get_or<bool>(text, "mlp_bias", false, origin);
  if (config.mlp_bias && !family.mlp_biases)
    fail("{}: mlp_bias is true, which model_type '{}' does not have", origin, model_type);

  parse_end_tokens(find_end_tokens(json, generation_config), config, origin);
  return config;
}

std::uint64_t ModelConfig::cache_floats_per_token() const {
  std::uint64_t layers_of_attention = 0;
  for (const BlockConfig& block : blocks) layers_of_attention += block.mixer == MixerKind::attention;
  return 2 * layers_of_attention * static_cast<std::uint64_t>(kv_heads) *
         static_cast<std::uint64_t>(head_dim);
}

std::uint64_t ModelConfig::carry_floats(MixerKind mixer) const {
  if (mixer != MixerKind::delta_net) return 0;
  const auto value_rows =
      static_cast<std::uint64_t>(delta_net.value_heads) * static_cast<std::uint64_t>(delta_net.value_dim);
  return static_cast<std::uint64_t>(delta_net.kernel - 1) * static_cast<std::uint64_t>(delta_net.channels()) +
         value_rows * static_cast<std::uint64_t>(delta_net.key_dim);
}

std::uint64_t ModelConfig::carry_floats() const {
  std::uint64_t total = 0;
  for (const BlockConfig& block : blocks) total += carry_floats(block.mixer);
  return total;
}

DeltaShape ModelConfig::delta_shape() const {
  return {static_cast<std::size_t>(delta_net.key_heads), static_cast<std::size_t>(delta_net.value_heads),
          static_cast<std::size_t>(delta_net.key_dim), static_cast<std::size_t>(delta_net.value_dim),
          static_cast<std::size_t>(delta_net.kernel)};
}

LayerStateShape ModelConfig::layer_state(int layer) const {
  if (blocks[static_cast<std::size_t>(layer)].mixer == MixerKind::delta_net)
    return {0, 0, delta_shape().carried()};
  return {static_cast<std::size_t>(kv_heads), static_cast<std::size_t>(head_dim), 0};
}

}  // namespace assay
