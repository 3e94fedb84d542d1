#include "assay/model/families/families.h"

#include <array>

#include "assay/model/config.h"

namespace assay {

/// Each is defined in the file of its name, beside this one.
namespace families {
extern const Family llama;
extern const Family qwen2;
extern const Family qwen3;
extern const Family qwen3_moe;
extern const Family qwen3_next;
extern const Family qwen3_5;
extern const Family qwen3_5_moe;
}  // namespace families

namespace {

constexpr std::array kFamilies = {
    &families::llama,      &families::qwen2,   &families::qwen3,       &families::qwen3_moe,
    &families::qwen3_next, &families::qwen3_5, &families::qwen3_5_moe,
};

}  // namespace

std::span<const Family* const> all_families() {
  return kFamilies;
}

const Family* find_family(std::string_view model_type) {
  if (model_type.empty()) return nullptr;
  for (const Family* family : kFamilies)
    if (model_type == family->model_type || model_type == family->composite_type) return family;
  return nullptr;
}

const Family* family_of(const Json& config, const std::string& origin) {
  return find_family(json_get_or<std::string>(text_config(config), "model_type", "", origin));
}

AttentionBiases biases_by_key(const Json& text, const std::string& origin) {
  const bool all = json_get_or<bool>(text, "attention_bias", false, origin);
  return {.inputs = all, .output = all};
}

}  // namespace assay
