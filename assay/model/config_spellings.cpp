#include "assay/model/config_spellings.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "assay/base/error.h"
#include "assay/model/config.h"
#include "assay/model/families/families.h"

namespace assay {

namespace {

constexpr std::array kRopeKeys = {"rope_theta", "partial_rotary_factor"};
/// What a config with a text_config may say again, in vain, beside it.
constexpr std::array kTextKeys = {"vocab_size",
                                  "hidden_size",
                                  "intermediate_size",
                                  "num_hidden_layers",
                                  "num_attention_heads",
                                  "num_key_value_heads",
                                  "head_dim",
                                  "rms_norm_eps",
                                  "rope_theta",
                                  "rope_parameters",
                                  "rope_scaling",
                                  "layer_types",
                                  "moe_intermediate_size",
                                  "num_experts_per_tok"};

std::string brief(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 80);
}

/// Collects a line where two values differ. Ids count alike alone and in a list, in any order.
class Comparison {
 public:
  explicit Comparison(std::string origin) : origin_(std::move(origin)) {}

  void add(const std::string& obeyed_key, const Json* obeyed, const std::string& other_key,
           const Json* other) {
    if (obeyed == nullptr || other == nullptr || obeyed == other || same(*obeyed, *other)) return;
    notes_.push_back(fmt::format("{}: {} is {}, {} is {}: {} counts, as in transformers", origin_, obeyed_key,
                                 brief(*obeyed), other_key, brief(*other), obeyed_key));
  }
  std::vector<std::string> take() { return std::move(notes_); }

 private:
  static bool same(const Json& a, const Json& b) {
    const auto sorted = [](const Json& value) {
      Json list = value.is_array() ? value : Json::array({value});
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      return list;
    };
    return a == b || (!a.is_object() && !b.is_object() && sorted(a) == sorted(b));
  }

  std::string origin_;
  std::vector<std::string> notes_;
};

void compare_rope(const Json& text, Comparison& comparison) {
  const RopeSpelling rope = find_rope(text);
  const std::string inner = std::string(rope.object_key) + ".";
  const Json* parameters = find_value(text, "rope_parameters");
  if (rope.object != nullptr && rope.object != parameters)
    comparison.add(rope.object_key, rope.object, "rope_parameters", parameters);
  if (rope.object == nullptr || !rope.object->is_object()) return;
  for (const char* key : kRopeKeys)
    comparison.add(inner + key, find_value(*rope.object, key), key, find_value(text, key));
  comparison.add(inner + "rope_type", find_value(*rope.object, "rope_type"), inner + "type",
                 find_value(*rope.object, "type"));
}

}  // namespace

const Json* find_value(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

RopeSpelling find_rope(const Json& text) {
  RopeSpelling rope;
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (const Json* object = find_value(text, key); object != nullptr && !object->empty()) {
      rope.object = object;
      rope.object_key = key;
    }
  const auto inside_first = [&](const char* key) {
    const Json* inner = rope.object == nullptr ? nullptr : find_value(*rope.object, key);
    return inner != nullptr ? inner : find_value(text, key);
  };
  rope.theta = inside_first("rope_theta");
  rope.partial_rotary_factor = inside_first("partial_rotary_factor");
  return rope;
}

const Json* find_expert_count(const Json& text) {
  const Json* count = find_value(text, "num_experts");
  const Json* local = find_value(text, "num_local_experts");
  const Json* type = find_value(text, "model_type");
  const Family* family =
      type != nullptr && type->is_string() ? find_family(type->get_ref<const std::string&>()) : nullptr;
  const bool local_first = family != nullptr && family->mixture && family->mixture->local_count_first;
  if (count == nullptr || (local_first && local != nullptr)) return local;
  return count;
}

std::optional<Json> generation_config_of(const Checkpoint& checkpoint) {
  const auto found = checkpoint.sidecars.find("generation_config.json");
  if (found == checkpoint.sidecars.end()) return std::nullopt;
  return parse_json(found->second, checkpoint.path + "/generation_config.json");
}

const Json* find_end_tokens(const Json& config, const Json* generation_config) {
  constexpr const char* kKey = "eos_token_id";
  if (generation_config != nullptr)
    if (const Json* ids = find_value(*generation_config, kKey)) return ids;
  const Json* ids = find_value(config, kKey);
  return ids != nullptr ? ids : find_value(text_config(config), kKey);
}

std::vector<std::string> disagreeing_spellings(const Checkpoint& checkpoint) {
  const Json& config = checkpoint.config;
  Comparison comparison(checkpoint.path + "/config.json");
  const Json& text = text_config(config);
  compare_rope(text, comparison);
  const Json* experts = find_expert_count(text);
  for (const char* key : {"num_experts", "num_local_experts"})
    comparison.add(experts == find_value(text, "num_experts") ? "num_experts" : "num_local_experts", experts,
                   key, find_value(text, key));
  comparison.add("dtype", find_value(text, "dtype"), "torch_dtype", find_value(text, "torch_dtype"));
  if (&text != &config) {
    comparison.add("tie_word_embeddings", find_value(config, "tie_word_embeddings"),
                   "text_config.tie_word_embeddings", find_value(text, "tie_word_embeddings"));
    for (const char* key : kTextKeys)
      comparison.add(std::string("text_config.") + key, find_value(text, key), key, find_value(config, key));
  }
  const std::optional<Json> generation = generation_config_of(checkpoint);
  const Json* ids = find_end_tokens(config, generation ? &*generation : nullptr);
  comparison.add(generation ? "eos_token_id of generation_config.json" : "eos_token_id", ids, "eos_token_id",
                 find_value(config, "eos_token_id"));
  if (&text != &config)
    comparison.add(generation ? "eos_token_id of generation_config.json" : "eos_token_id", ids,
                   "text_config.eos_token_id", find_value(text, "eos_token_id"));
  return comparison.take();
}

}  // namespace assay
