#pragma once
// One quantity under two keys: which of them counts, as transformers 5 decides (configuration_utils.py and
// modeling_rope_utils.py there), and what to tell a user whose config says two things.
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/checkpoint.h"

namespace assay {

/// The value under a key, or null when the key is absent or null.
const Json* find_value(const Json& object, const char* key);

/// Where RoPE's keys are. A rope_scaling that holds anything takes the place of rope_parameters; what the
/// object says goes before the same key outside of it. Null: nowhere.
struct RopeSpelling {
  const Json* object = nullptr;
  const char* object_key = "";
  const Json* theta = nullptr;
  const Json* partial_rotary_factor = nullptr;
};
RopeSpelling find_rope(const Json& text);

/// num_experts, unless the family maps it onto num_local_experts; null: neither.
const Json* find_expert_count(const Json& text);

/// The checkpoint's generation_config.json; nothing where it has none.
std::optional<Json> generation_config_of(const Checkpoint& checkpoint);

/// Token ids that end a text: those of generation_config.json, else of config.json; null: none.
const Json* find_end_tokens(const Json& config, const Json* generation_config);

/// A line for each quantity of which the configuration says two things, with the one that counts.
std::vector<std::string> disagreeing_spellings(const Checkpoint& checkpoint);

}  // namespace assay
