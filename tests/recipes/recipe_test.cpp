#include "assay/recipes/recipe.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "tests/support.h"

namespace assay {
namespace {

Recipe parse(const std::string& text) {
  return parse_recipe(parse_json(text, "r.json"), "r.json");
}

TEST(Recipe, BuiltInsSurviveTheirOwnJson) {
  for (const Recipe& recipe : built_in_recipes()) {
    const Recipe back = parse_recipe(Json::parse(recipe_to_json(recipe).dump()), recipe.name);
    EXPECT_EQ(recipe_to_json(back), recipe_to_json(recipe));
  }
}

TEST(Recipe, UnknownThingsAreErrorsThatNameThem) {
  EXPECT_ERROR(load_recipe("q5"), "q5", "w3-mlp");
  EXPECT_ERROR(load_recipe("/none.json"), "/none.json");
  EXPECT_ERROR(parse(R"({"name": "x"})"), "rules");
  EXPECT_ERROR(parse(R"({"name": "x", "rules": []})"), "rules");
  EXPECT_ERROR(parse(R"({"name": "x", "rules": [{"format": "khq4"}]})"), "rule 0", "roles");
  EXPECT_ERROR(parse(R"({"name": "x", "rules": [{"roles": ["mlp.gates"], "format": "khq4"}]})"), "mlp.gates");
  EXPECT_ERROR(parse(R"({"name": "x", "rules": [{"roles": ["mlp"], "format": "khq4", "methode": "rtn"}]})"),
               "methode");
  EXPECT_ERROR(parse(R"({"name": "x", "rules": [{"roles": ["mlp"], "format": "khq4", "method": "magic"}]})"),
               "magic");
  EXPECT_ERROR(parse(R"({"name": "x", "rules": [{"roles": "mlp", "format": "khq4"}]})"), "roles");
}

TEST(Recipe, RulesMatchWholeNamesAndRoles) {
  Rule rule;
  rule.names = {"model.layers.*.mlp.down_proj.weight"};
  EXPECT_TRUE(rule_matches(rule, "model.layers.12.mlp.down_proj.weight", Role::mlp_down));
  EXPECT_FALSE(rule_matches(rule, "model.layers.12.mlp.down_proj.weights", Role::mlp_down));
  EXPECT_FALSE(rule_matches(rule, "x.model.layers.12.mlp.down_proj.weight", Role::mlp_down));
  rule.names = {"*.3.*_proj*"};
  EXPECT_TRUE(rule_matches(rule, "model.layers.3.self_attn.q_proj.weight", Role::attention_q));
  EXPECT_FALSE(rule_matches(rule, "model.layers.13.self_attn.q_proj.weight", Role::attention_q));
  rule = {};
  rule.roles = {"linear"};
  EXPECT_TRUE(rule_matches(rule, "x", Role::mlp_up));
  EXPECT_FALSE(rule_matches(rule, "x", Role::embedding));
  EXPECT_FALSE(rule_matches(rule, "x", Role::router));  // never by a group of ordinary matrices
  EXPECT_FALSE(rule_matches(rule, "x", Role::norm));
  rule.roles = {"attention.q"};
  EXPECT_TRUE(rule_matches(rule, "x", Role::attention_q));
  EXPECT_FALSE(rule_matches(rule, "x", Role::attention_k));
}

}  // namespace
}  // namespace assay
