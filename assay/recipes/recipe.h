#pragma once
// A recipe: ordered rules from tensor role or name to format and method. The first rule that matches a tensor
// decides; a tensor that no rule matches keeps its source format. Built-in recipes and JSON files are the
// same thing.
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/model/roles.h"
#include "assay/recipes/method.h"
#include "assay/recipes/text_record.h"

namespace assay {

struct Rule {
  std::vector<std::string> roles;  // role names ("mlp.gate") or groups ("matrices", "linear", "attention",
                                   // "mlp", "experts", "ends" = embedding and head)
  std::vector<std::string> names;  // patterns over the whole tensor name; * matches any run of characters
  std::string format;              // as typed: "khq4", "mlx4-g64"; "source" keeps the tensor as it is
  Method method = Method::rtn;     // rtn, search or gptq
  std::string otherwise;           // format for a matrix that does not fit `format`; empty: that is an error
  bool optional = false;           // may match nothing (a model with a tied head has no lm_head)
};

struct Recipe {
  std::string name;
  std::string description;
  std::vector<Rule> rules;
  bool dense_only = false;  // refuses mixtures of experts
  TextRecords texts = {};   // that it was made on: what is quantised by it must not be measured on them
};

/// The built-in recipes, in the order `assay recipes` prints them.
const std::vector<Recipe>& built_in_recipes();

/// A built-in by name, or the JSON file at this path. Throws Error for unknown names, keys, roles or methods.
Recipe load_recipe(const std::string& name_or_path);

Recipe parse_recipe(const Json& json, const std::string& origin);
OrderedJson recipe_to_json(const Recipe& recipe);

/// Does the rule speak of this tensor?
bool rule_matches(const Rule& rule, const std::string& tensor, Role role);

}  // namespace assay
