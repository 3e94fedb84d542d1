// A recipe; behind a zero byte, a tensor's name that its patterns are held against.
#include "assay/recipes/recipe.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "assay/base/error.h"

namespace {

using assay::Json;

/// What is accepted is written as it is read.
void check_round_trip(const assay::Recipe& recipe) {
  const std::string written = assay::recipe_to_json(recipe).dump();
  const assay::Recipe again = assay::parse_recipe(assay::parse_json(written, "fuzz"), "fuzz");
  if (assay::recipe_to_json(again).dump() != written) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = std::min(input.find('\0'), size);
  const std::string name(input.substr(std::min(cut + 1, size)));
  try {
    const assay::Recipe recipe = assay::parse_recipe(assay::parse_json(input.substr(0, cut), "fuzz"), "fuzz");
    check_round_trip(recipe);
    for (const assay::Rule& rule : recipe.rules) {
      (void)assay::rule_matches(rule, name, assay::Role::mlp_up);
      (void)assay::rule_matches(rule, "model.layers.10.mlp.experts.7.up_proj.weight", assay::Role::head);
    }
  } catch (const assay::Error&) {  // what a reader owes to a broken file
  }
  return 0;
}
