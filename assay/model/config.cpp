#include "assay/model/config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "assay/base/error.h"

namespace assay {

namespace {

// Bounds far above any published model. All products of two of them fit 64 bits with room to spare, so sizes
// derived from a config cannot wrap.
constexpr int kMaxLayers = 4096;
constexpr int kMaxHeads = 1 << 14;
constexpr int kMaxHeadDim = 1 << 14;
constexpr int kMaxWidth = 1 << 24;
constexpr int kMaxPositions = 1 << 28;

struct SupportedModel {
  std::string_view model_type;
  Architecture architecture;
  bool query_key_norm;
  bool theta_has_default;  // the first Llama configs carry no rope_theta and mean 10000
};
constexpr std::array kSupportedModels = {
    SupportedModel{"llama", Architecture::llama, false, true},
    SupportedModel{"qwen3", Architecture::qwen3, true, false},
};

const SupportedModel& supported_model(const std::string& model_type, const std::string& origin) {
  std::string names;
  for (const SupportedModel& model : kSupportedModels) {
    if (model.model_type == model_type) return model;
    names += (names.empty() ? "" : ", ") + std::string(model.model_type);
  }
  fail("{}: model_type '{}' cannot be run; supported: {}", origin, model_type, names);
}

/// The object under a key, or null when the key is absent or null.
const Json* find_value(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
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
    NeutralValue{"pretraining_tp", 1},
    NeutralValue{"partial_rotary_factor", 1},
    NeutralValue{"logit_scale", 1},
    NeutralValue{"embedding_multiplier", 1},
    NeutralValue{"residual_multiplier", 1},
    NeutralValue{"logits_scaling", 1},
    NeutralValue{"attn_logit_softcapping", 0},
    NeutralValue{"final_logit_softcapping", 0},
    NeutralValue{"num_experts", 0},
    NeutralValue{"num_local_experts", 0},
    NeutralValue{"moe_intermediate_size", 0},
    NeutralValue{"num_experts_per_tok", 0},
};

void refuse_unless_neutral(const Json& object, const NeutralValue& rule, const std::string& origin) {
  const Json* value = find_value(object, rule.key);
  if (value == nullptr || (value->is_number() && value->get<double>() == rule.neutral)) return;
  fail("{}: {} is {}, only {} (or no such key) is supported", origin, rule.key, value->dump(), rule.neutral);
}

void refuse_sliding_windows(const Json& text, const ModelConfig& config, const std::string& origin) {
  if (const Json* types = find_value(text, "layer_types")) {
    if (!types->is_array() || types->size() != static_cast<std::size_t>(config.layers))
      fail("{}: layer_types must be a list of num_hidden_layers = {} entries", origin, config.layers);
    for (const Json& type : *types)
      if (type != "full_attention")
        fail("{}: layer_types holds {}, only \"full_attention\" is supported", origin, type.dump());
  }
  const Json* window = find_value(text, "sliding_window");
  if (window == nullptr) return;
  // Qwen configs carry a window that use_sliding_window = false (its default there) switches off.
  const bool used =
      json_get_or<bool>(text, "use_sliding_window", config.architecture == Architecture::llama, origin);
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

/// rope_type, or type in older files; both are legal when they agree.
std::string rope_type(const Json& rope, const std::string& origin) {
  const auto current = json_get_or<std::string>(rope, "rope_type", "", origin);
  const auto older = json_get_or<std::string>(rope, "type", "", origin);
  if (!current.empty() && !older.empty() && current != older)
    fail("{}: rope_type '{}' and type '{}' disagree", origin, current, older);
  if (current.empty() && older.empty()) return "default";
  return current.empty() ? older : current;
}

void parse_rope(const Json& text, const SupportedModel& model, ModelConfig& config,
                const std::string& origin) {
  // Newer files: everything inside rope_parameters. Older ones: rope_theta at the text level, rope_scaling
  // beside it.
  std::optional<double> theta;
  if (find_value(text, "rope_theta") != nullptr) theta = positive(text, "rope_theta", origin);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const Json* rope = find_value(text, key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) fail("{}: {} is not an object", origin, key);
    const std::string type = rope_type(*rope, origin);
    if (find_value(*rope, "rope_theta") != nullptr) {
      const double inner = positive(*rope, "rope_theta", origin);
      if (theta && *theta != inner) fail("{}: rope_theta is {} and, in {}, {}", origin, *theta, key, inner);
      theta = inner;
    }
    refuse_unless_neutral(*rope, {"partial_rotary_factor", 1}, origin);
    if (type == "llama3") {
      const RopeScaling scaling = parse_llama3_scaling(*rope, origin);
      if (config.rope_scaling && *config.rope_scaling != scaling)
        fail("{}: rope_parameters and rope_scaling disagree", origin);
      config.rope_scaling = scaling;
    } else if (type != "default") {
      fail("{}: rope type '{}' is not supported; supported: default, llama3", origin, type);
    } else {
      refuse_unless_neutral(*rope, {"factor", 1}, origin);
      for (const auto& [name, value] : rope->items())
        if (value.is_object())
          fail("{}: {}.{} sets RoPE per layer type, which is not supported", origin, key, name);
    }
  }
  if (!theta && !model.theta_has_default)
    fail("{}: no rope_theta, neither alone nor in rope_parameters", origin);
  config.rope_theta = theta.value_or(10000.0);
}

void add_end_tokens(const Json& object, ModelConfig& config, const std::string& origin) {
  const Json* value = find_value(object, "eos_token_id");
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
  const Json* nested = config.is_object() ? find_value(config, "text_config") : nullptr;
  return nested != nullptr && nested->is_object() ? *nested : config;
}

ModelConfig parse_model_config(const Json& json, const Json* generation_config, const std::string& origin) {
  if (!json.is_object()) fail("{}: config.json is not an object", origin);
  const Json& text = text_config(json);
  const SupportedModel& model = supported_model(json_get<std::string>(text, "model_type", origin), origin);

  ModelConfig config;
  config.architecture = model.architecture;
  config.query_key_norm = model.query_key_norm;
  config.layers = bounded(text, "num_hidden_layers", kMaxLayers, origin);
  config.hidden = bounded(text, "hidden_size", kMaxWidth, origin);
  config.intermediate = bounded(text, "intermediate_size", kMaxWidth, origin);
  config.vocabulary = bounded(text, "vocab_size", kMaxWidth, origin);
  config.max_positions = bounded(text, "max_position_embeddings", kMaxPositions, origin);
  parse_heads(text, config, origin);

  const double epsilon = positive(text, "rms_norm_eps", origin);
  if (epsilon < 1e-12 || epsilon >= 1) fail("{}: rms_norm_eps is {}, expected 1e-12..1", origin, epsilon);
  config.norm_epsilon = static_cast<float>(epsilon);

  for (const NeutralValue& rule : kNeutralValues) refuse_unless_neutral(text, rule, origin);
  const auto activation = json_get_or<std::string>(text, "hidden_act", "silu", origin);
  if (activation != "silu") fail("{}: hidden_act is '{}', only 'silu' is supported", origin, activation);
  refuse_sliding_windows(text, config, origin);
  parse_rope(text, model, config, origin);

  const bool nested_tie = json_get_or<bool>(text, "tie_word_embeddings", false, origin);
  config.tied_head = json_get_or<bool>(json, "tie_word_embeddings", nested_tie, origin);
  config.attention_bias = json_get_or<bool>(text, "attention_bias", false, origin);
  config.mlp_bias = json_get_or<bool>(text, "mlp_bias", false, origin);
  if (config.mlp_bias && model.architecture == Architecture::qwen3)
    fail("{}: mlp_bias is true, which model_type 'qwen3' does not have", origin);

  add_end_tokens(text, config, origin);
  if (&text != &json) add_end_tokens(json, config, origin);
  if (generation_config != nullptr && generation_config->is_object())
    add_end_tokens(*generation_config, config, origin);
  return config;
}

}  // namespace assay
