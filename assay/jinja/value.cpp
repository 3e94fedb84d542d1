#include "assay/jinja/value.h"

#include <algorithm>

namespace assay::jinja {

/// Takes over what a container is because of an item.
void Value::contain(const Value& item) {
  depth_ = std::max(depth_, item.depth_ + 1);
  holds_state_ = holds_state_ || item.holds_state_;
}

Value Value::list(List value) {
  const auto items = std::make_shared<const List>(std::move(value));
  Value result(items);
  result.depth_ = 1;
  for (const Value& item : *items) result.contain(item);
  return result;
}

Value Value::dict(Dict value) {
  const auto items = std::make_shared<const Dict>(std::move(value));
  Value result(items);
  result.depth_ = 1;
  for (const auto& [key, item] : *items) result.contain(item);
  return result;
}

Value Value::name_space(std::shared_ptr<Namespace> value) {
  Value result(std::move(value));
  result.holds_state_ = true;
  return result;
}

Value Value::loop(std::shared_ptr<const Loop> value) {
  Value result(std::move(value));
  result.holds_state_ = true;
  return result;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (const auto* flag = as_boolean()) return *flag;
  if (const auto* number = as_integer()) return *number != 0;
  if (const auto* number = as_real()) return *number != 0.0;
  if (const auto* text = as_string()) return !text->empty();
  if (const auto* items = as_list()) return !items->empty();
  if (const auto* dict = as_dict()) return !dict->empty();
  return true;
}

std::string Value::kind() const {
  if (is_undefined()) return "undefined (\"" + undefined_name() + "\")";
  if (is_none()) return "none";
  if (as_boolean() != nullptr) return "a boolean";
  if (as_integer() != nullptr || as_real() != nullptr) return "a number";
  if (as_string() != nullptr) return "a string";
  if (as_list() != nullptr) return "a list";
  if (as_dict() != nullptr) return "a mapping";
  if (as_namespace() != nullptr) return "a namespace";
  return as_loop() != nullptr ? "the loop" : "a function";
}

const Value* find(const Dict& dict, const std::string& key) {
  for (const auto& [name, value] : dict)
    if (name == key) return &value;
  return nullptr;
}

void assign(Dict& dict, const std::string& key, Value value) {
  for (auto& [name, known] : dict)
    if (name == key) {
      known = std::move(value);
      return;
    }
  dict.emplace_back(key, std::move(value));
}

}  // namespace assay::jinja
