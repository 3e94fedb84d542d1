#include "assay/recipes/recipe.h"

#include <algorithm>
#include <array>

#include <fmt/ranges.h>

#include "assay/base/error.h"
#include "assay/recipes/name_pattern.h"

namespace assay {
namespace {

bool is_attention(Role role) {
  return role == Role::attention_q || role == Role::attention_k || role == Role::attention_v ||
         role == Role::attention_o || role == Role::linear_attention_in || role == Role::linear_attention_out;
}
bool is_mlp(Role role) {
  return role == Role::mlp_gate || role == Role::mlp_up || role == Role::mlp_down;
}
bool is_end(Role role) {
  return role == Role::embedding || role == Role::head;
}
/// Routers and their like: tiny, and a wrong choice of experts is the costliest error there is.
bool is_protected(Role role) {
  return role == Role::router || role == Role::shared_expert_gate || role == Role::linear_attention_gates;
}
bool is_linear(Role role) {
  return is_block_matrix(role) && !is_protected(role);
}
bool is_matrix(Role role) {
  return is_end(role) || is_linear(role);
}

struct Group {
  std::string_view name;
  bool (*holds)(Role);
};
constexpr std::array<Group, 7> kGroups = {{{"matrices", is_matrix},
                                           {"linear", is_linear},
                                           {"attention", is_attention},
                                           {"mlp", is_mlp},
                                           {"experts", is_expert_matrix},
                                           {"ends", is_end},
                                           {"routers", is_protected}}};

const Group* find_group(std::string_view name) {
  const auto found = std::ranges::find(kGroups, name, &Group::name);
  return found == kGroups.end() ? nullptr : &*found;
}

Rule by_role(std::vector<std::string> roles, std::string format) {
  Rule rule;
  rule.roles = std::move(roles);
  rule.format = std::move(format);
  return rule;
}

Recipe one_format(std::string name, std::string format, std::string description) {
  return {std::move(name), std::move(description), {by_role({"matrices"}, std::move(format))}};
}

/// MLX's own default keeps routers at 8 bits; a dense model has none, so that rule may match nothing.
Recipe mlx(int bits) {
  Rule routers = by_role({"routers"}, "mlx8-g64");
  routers.optional = true;
  return {fmt::format("mlx{}", bits),
          fmt::format("MLX affine {} bits, group 64, every matrix; routers 8 bits", bits),
          {by_role({"matrices"}, fmt::format("mlx{}-g64", bits)), routers}};
}

/// Experts hold most of a mixture's weights and a token visits few of them: they bear fewer bits than what
/// every token passes.
Recipe experts(std::string name, std::string format, Method method, const Recipe& others,
               std::string description) {
  Rule rule = by_role({"experts"}, std::move(format));
  rule.method = method;
  Recipe recipe{std::move(name), std::move(description), {std::move(rule)}};
  recipe.rules.insert(recipe.rules.end(), others.rules.begin(), others.rules.end());
  return recipe;
}

std::vector<Recipe> make_built_ins() {
  Recipe w3_mlp{"w3-mlp",
                "dense MLP gate, up and down in KHW3, every other matrix in KHQ4",
                {by_role({"mlp"}, "khw3"), by_role({"matrices"}, "khq4")}};
  w3_mlp.dense_only = true;
  return {
      one_format("f16", "f16", "every matrix in f16"),
      one_format("q8", "q8_0", "every matrix in Q8_0"),
      one_format("q4", "khq4", "every matrix in KHQ4"),
      std::move(w3_mlp),
      {"w3",
       "every linear layer in KHW3, embedding and head in KHQ4",
       {by_role({"linear"}, "khw3"), by_role({"ends"}, "khq4")}},
      experts("w3-experts", "khw3", Method::rtn, one_format("", "khq4", ""),
              "mixtures: experts in KHW3, every other matrix in KHQ4, routers as they are"),
      mlx(4),
      mlx(3),
      mlx(2),
      experts("mlx2-experts", "mlx2-g64", Method::search, mlx(4),
              "mixtures: experts in MLX 2 bits by scale search, every other matrix 4 bits, routers 8 bits"),
      one_format("int6-row", "int6-row", "every matrix in 6-bit integers with one scale a row"),
      one_format("gf16", "gf16", "every matrix in GF16"),
  };
}

std::vector<std::string> string_list(const Json& object, const char* key, const std::string& origin) {
  std::vector<std::string> list;
  const auto found = object.find(key);
  if (found == object.end()) return list;
  if (!found->is_array()) fail("{}: \"{}\" is not a list of strings", origin, key);
  for (const Json& item : *found) {
    if (!item.is_string()) fail("{}: \"{}\" holds {}, a string expected", origin, key, item.dump());
    list.push_back(item.get<std::string>());
  }
  return list;
}

void refuse_unknown_keys(const Json& object, std::initializer_list<std::string_view> known,
                         const std::string& origin) {
  if (!object.is_object()) fail("{}: found {}, an object expected", origin, object.type_name());
  for (const auto& [key, value] : object.items())
    if (std::ranges::find(known, key) == known.end())
      fail("{}: unknown key \"{}\", one of {} expected", origin, key, fmt::join(known, ", "));
}

Rule parse_rule(const Json& json, const std::string& origin) {
  refuse_unknown_keys(json, {"roles", "names", "format", "method", "otherwise", "optional"}, origin);
  Rule rule;
  rule.roles = string_list(json, "roles", origin);
  rule.names = string_list(json, "names", origin);
  rule.format = json_get<std::string>(json, "format", origin);
  const auto method = json_get_or<std::string>(json, "method", "rtn", origin);
  rule.otherwise = json_get_or<std::string>(json, "otherwise", "", origin);
  rule.optional = json_get_or<bool>(json, "optional", false, origin);
  if (rule.roles.empty() && rule.names.empty()) fail("{}: a rule needs \"roles\" or \"names\"", origin);
  for (const std::string& role : rule.roles)
    if (find_group(role) == nullptr && !parse_role(role))
      fail(
          "{}: unknown role \"{}\"; a role such as mlp.gate or a group (matrices, linear, attention, mlp, "
          "experts, ends, routers) expected",
          origin, role);
  const auto parsed = parse_rounding_method(method);
  if (!parsed) fail("{}: unknown method \"{}\"; rtn, search or gptq expected", origin, method);
  rule.method = *parsed;
  return rule;
}

}  // namespace

const std::vector<Recipe>& built_in_recipes() {
  static const std::vector<Recipe> recipes = make_built_ins();
  return recipes;
}

Recipe parse_recipe(const Json& json, const std::string& origin) {
  refuse_unknown_keys(json, {"name", "description", "rules", "dense_only", "texts"}, origin);
  Recipe recipe;
  recipe.name = json_get<std::string>(json, "name", origin);
  recipe.description = json_get_or<std::string>(json, "description", "", origin);
  recipe.dense_only = json_get_or<bool>(json, "dense_only", false, origin);
  if (const auto texts = json.find("texts"); texts != json.end())
    recipe.texts = texts_from_json(*texts, origin);
  const auto rules = json.find("rules");
  if (rules == json.end() || !rules->is_array() || rules->empty())
    fail("{}: \"rules\" must be a list of at least one rule", origin);
  for (std::size_t i = 0; i < rules->size(); ++i)
    recipe.rules.push_back(parse_rule((*rules)[i], fmt::format("{}: rule {}", origin, i)));
  return recipe;
}

Recipe load_recipe(const std::string& name_or_path) {
  for (const Recipe& recipe : built_in_recipes())
    if (recipe.name == name_or_path) return recipe;
  if (name_or_path.ends_with(".json"))
    return parse_recipe(read_json_file(name_or_path, {.bytes = 64u << 20}), name_or_path);
  std::vector<std::string> names;
  for (const Recipe& recipe : built_in_recipes()) names.push_back(recipe.name);
  fail("no recipe \"{}\"; built in are {}, and a file's name ends in .json", name_or_path,
       fmt::join(names, ", "));
}

OrderedJson recipe_to_json(const Recipe& recipe) {
  OrderedJson rules = OrderedJson::array();
  for (const Rule& rule : recipe.rules) {
    OrderedJson json;
    if (!rule.roles.empty()) json["roles"] = rule.roles;
    if (!rule.names.empty()) json["names"] = rule.names;
    json["format"] = rule.format;
    json["method"] = method_name(rule.method);
    if (!rule.otherwise.empty()) json["otherwise"] = rule.otherwise;
    if (rule.optional) json["optional"] = true;
    rules.push_back(std::move(json));
  }
  OrderedJson json = {
      {"name", recipe.name}, {"description", recipe.description}, {"rules", std::move(rules)}};
  if (recipe.dense_only) json["dense_only"] = true;
  if (!recipe.texts.empty()) json["texts"] = texts_to_json(recipe.texts);
  return json;
}

bool rule_matches(const Rule& rule, const std::string& tensor, Role role) {
  const auto role_fits = [&](const std::string& name) {
    const Group* group = find_group(name);
    return group != nullptr ? group->holds(role) : role_name(role) == name;
  };
  return std::ranges::any_of(rule.roles, role_fits) ||
         std::ranges::any_of(
             rule.names, [&](const std::string& pattern) { return matches_name_pattern(pattern, tensor); });
}

}  // namespace assay
