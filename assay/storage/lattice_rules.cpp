#include "assay/storage/lattice_rules.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::uint64_t kBlock = 32;  // weights per block of every lattice format

/// The object of the config that holds `key`: the top level wins over text_config. Null when neither has it.
const Json* holder_of(const Json& config, const char* key) {
  const auto holds = [&](const Json& object) {
    return object.is_object() && object.contains(key) && !object.at(key).is_null();
  };
  if (holds(config)) return &config;
  if (config.is_object() && config.contains("text_config") && holds(config.at("text_config")))
    return &config.at("text_config");
  return nullptr;
}

std::uint64_t required_count(const Json& config, const char* key, const std::string& origin) {
  const Json* holder = holder_of(config, key);
  return json_get<std::uint64_t>(holder == nullptr ? config : *holder, key, origin);
}

/// A key of zero counts as absent: some dense configs carry num_experts = 0.
const char* mixture_of_experts_key(const Json& config, const std::string& origin) {
  static constexpr std::array kKeys = {"num_experts", "num_local_experts", "num_experts_per_tok",
                                       "moe_intermediate_size", "shared_expert_intermediate_size"};
  for (const char* key : kKeys)
    if (holder_of(config, key) != nullptr && required_count(config, key, origin) != 0) return key;
  return nullptr;
}

void check_tied_head(const std::vector<LatticeMember>& members, const Json& config,
                     const std::string& directory) {
  const Json* holder = holder_of(config, "tie_word_embeddings");
  if (holder == nullptr) return;
  const bool tied = json_get<bool>(*holder, "tie_word_embeddings", directory + "/config.json");
  const bool has_head = std::any_of(members.begin(), members.end(), [](const LatticeMember& member) {
    return member.name == "lm_head.weight" || member.name.ends_with(".lm_head.weight");
  });
  if (tied && has_head)
    fail("{}: tensor lm_head.weight is present, but config.json says tie_word_embeddings true", directory);
  if (!tied && !has_head)
    fail("{}: tensor lm_head.weight is missing, but config.json says tie_word_embeddings false", directory);
}

void check_w3(const std::vector<LatticeMember>& members, const Json& config, const std::string& directory) {
  const std::string origin = directory + "/config.json";
  if (const char* key = mixture_of_experts_key(config, origin))
    fail(
        "{}: .w3 files with a mixture-of-experts config ({} in config.json): W3 directories hold dense "
        "models only",
        directory, key);
  for (const LatticeMember& member : members) {
    if (!is_lattice_w3_name(member.name)) continue;
    if (member.extension != ".w3")
      fail("{}: tensor {}: a {} file, .w3 expected (every dense MLP matrix of a W3 directory must be .w3)",
           directory, member.name, member.extension);
    const std::uint64_t hidden = required_count(config, "hidden_size", origin);
    const std::uint64_t intermediate = required_count(config, "intermediate_size", origin);
    const bool down = member.name.ends_with("down_proj.weight");
    const Shape expected = down ? Shape{hidden, intermediate} : Shape{intermediate, hidden};
    if (member.shape != expected)
      fail("{}: tensor {}: shape is {}, config.json says {}", directory, member.name,
           shape_text(member.shape), shape_text(expected));
    if (member.shape.back() % kBlock != 0)
      fail("{}: tensor {}: rows of {} weights, a multiple of {} expected in .w3 files", directory,
           member.name, member.shape.back(), kBlock);
  }
}

}  // namespace

bool is_lattice_w3_name(std::string_view tensor_name) {
  const auto contains = [&](std::string_view part) {
    return tensor_name.find(part) != std::string_view::npos;
  };
  if (tensor_name.starts_with("mtp.") || contains(".mtp.")) return false;
  if (contains(".experts.") || contains("shared_expert") || !contains(".mlp.")) return false;
  return tensor_name.ends_with("mlp.gate_proj.weight") || tensor_name.ends_with("mlp.up_proj.weight") ||
         tensor_name.ends_with("mlp.down_proj.weight");
}

void check_lattice_rules(const std::vector<LatticeMember>& members, const Json& config,
                         const std::string& directory) {
  check_tied_head(members, config, directory);
  const auto is_w3 = [](const LatticeMember& member) { return member.extension == ".w3"; };
  if (std::any_of(members.begin(), members.end(), is_w3)) check_w3(members, config, directory);
}

}  // namespace assay
