#include "assay/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <compare>
#include <limits>

#include "assay/jinja/text.h"

namespace assay::jinja {
namespace {

using Operator = Arithmetic::Operator;

void charge_look_up(const Dict& dict, const std::string& key, Context& context) {
  constexpr std::size_t kComparedAtOnce = 64;
  context.charge_product(dict.size(), 1 + key.size() / kComparedAtOnce);
}

std::optional<double> number(const Value& value) {
  if (const auto whole = whole_number(value)) return static_cast<double>(*whole);
  if (const auto* real = value.as_real()) return *real;
  return std::nullopt;
}

const char* symbol(Operator operation) {
  static constexpr std::array kSymbols = {"+", "-", "*", "/", "//", "%", "~"};
  return kSymbols[static_cast<std::size_t>(operation)];
}

[[noreturn]] void refuse_operands(const char* sign, const Value& left, const Value& right,
                                  const Context& context) {
  context.refuse("operator {} between {} and {}", sign, left.kind(), right.kind());
}

Value repeat(const std::string& text, std::int64_t times, Context& context) {
  if (times <= 0 || text.empty()) return Value::string({});
  if (static_cast<std::uint64_t>(times) > std::numeric_limits<std::uint32_t>::max())
    context.charge(~std::size_t{0});
  context.charge(text.size() * static_cast<std::size_t>(times));
  std::string result;
  for (; times > 0; --times) result += text;
  return Value::string(std::move(result));
}

Value calculate_whole(Operator operation, std::int64_t left, std::int64_t right, const Context& context) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (operation) {
    case Operator::add:
      overflow = __builtin_add_overflow(left, right, &result);
      break;
    case Operator::subtract:
      overflow = __builtin_sub_overflow(left, right, &result);
      break;
    case Operator::multiply:
      overflow = __builtin_mul_overflow(left, right, &result);
      break;
    default: {  // floor_divide, modulo: rounded down, not toward zero
      if (right == 0) context.refuse("division by zero");
      if (right == -1) {
        overflow =
            operation == Operator::floor_divide && __builtin_sub_overflow(std::int64_t{0}, left, &result);
        break;
      }
      const std::int64_t remainder = left % right;
      const bool below = remainder != 0 && (remainder < 0) != (right < 0);
      result = operation == Operator::modulo ? (below ? remainder + right : remainder)
                                             : left / right - (below ? 1 : 0);
    }
  }
  if (overflow) context.refuse("{} {} {} does not fit 64 bits", left, symbol(operation), right);
  return Value::integer(result);
}

Value calculate_real(Operator operation, double left, double right, const Context& context) {
  const bool divides =
      operation == Operator::divide || operation == Operator::floor_divide || operation == Operator::modulo;
  if (divides && right == 0.0) context.refuse("division by zero");
  switch (operation) {
    case Operator::add:
      return Value::real(left + right);
    case Operator::subtract:
      return Value::real(left - right);
    case Operator::multiply:
      return Value::real(left * right);
    case Operator::divide:
      return Value::real(left / right);
    default:
      context.refuse("operator {} between fractions is not supported", symbol(operation));
  }
}

Value add_lists(const List& left, const List& right, Context& context) {
  context.charge((left.size() + right.size()) * sizeof(Value));
  List joined = left;
  joined.insert(joined.end(), right.begin(), right.end());
  return Value::list(std::move(joined));
}

std::optional<std::partial_ordering> order(const Value& left, const Value& right, Context& context) {
  const auto a = whole_number(left), b = whole_number(right);
  if (a && b) return *a <=> *b;
  const auto x = number(left), y = number(right);
  if (x && y) return *x <=> *y;
  if (left.as_string() != nullptr && right.as_string() != nullptr) {
    context.charge(std::min(left.as_string()->size(), right.as_string()->size()));
    return left.as_string()->compare(*right.as_string()) <=> 0;  // UTF-8 sorts as its characters do
  }
  return std::nullopt;
}

bool contains(const Value& container, const Value& value, Context& context) {
  if (const auto* text = container.as_string()) {
    if (value.as_string() == nullptr) refuse_operands("in", value, container, context);
    context.charge_search(text->size(), value.as_string()->size());
    return text->find(*value.as_string()) != std::string::npos;
  }
  if (const auto* dict = container.as_dict())
    return value.as_string() != nullptr && look_up(*dict, *value.as_string(), context) != nullptr;
  if (container.is_undefined()) return false;
  if (container.as_list() == nullptr) refuse_operands("in", value, container, context);
  return std::any_of(container.as_list()->begin(), container.as_list()->end(),
                     [&](const Value& item) { return equal(item, value, context); });
}

/// A slice's bounds over `size` elements, as Python clamps them.
struct SliceRange {
  std::int64_t begin, end, step;
};

SliceRange slice_range(std::int64_t size, const Value& begin, const Value& end, const Value& step,
                       Context& context) {
  const auto bound = [&](const Value& value, std::int64_t absent) {
    if (value.is_none()) return absent;
    const auto whole = whole_number(value);
    if (!whole) context.refuse("a slice bound is {}, a whole number expected", value.kind());
    return *whole;
  };
  const std::int64_t stride = bound(step, 1);
  if (stride == 0) context.refuse("a slice with step 0");
  const std::int64_t lowest = stride > 0 ? 0 : -1, highest = stride > 0 ? size : size - 1;
  const auto clamp = [&](const Value& value, std::int64_t absent) {
    if (value.is_none()) return absent;
    const std::int64_t at = bound(value, absent);
    return std::clamp(at < 0 ? at + size : at, lowest, highest);
  };
  return {clamp(begin, stride > 0 ? 0 : size - 1), clamp(end, stride > 0 ? size : -1), stride};
}

template <class Take>
void for_each_index(const SliceRange& range, std::int64_t size, const Take& take) {
  // A step beyond the size visits one element at most; clamping it keeps the sum from overflowing.
  const std::int64_t step = std::clamp(range.step, -size - 1, size + 1);
  for (std::int64_t at = range.begin; step > 0 ? at < range.end : at > range.end; at += step)
    take(static_cast<std::size_t>(at));
}

Value loop_attribute(const Loop& loop, const std::string& name, const Context& context) {
  const auto index = static_cast<std::int64_t>(loop.index),
             length = static_cast<std::int64_t>(loop.items->size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "revindex") return Value::integer(length - index);
  if (name == "revindex0") return Value::integer(length - index - 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == length);
  if (name == "length") return Value::integer(length);
  if (name == "previtem")
    return index == 0 ? Value::undefined("loop.previtem") : (*loop.items)[loop.index - 1];
  if (name == "nextitem")
    return index + 1 == length ? Value::undefined("loop.nextitem") : (*loop.items)[loop.index + 1];
  context.refuse("loop.{} is not supported", name);
}

bool is_method(const Value& object, const std::string& name) {
  static constexpr std::array<std::string_view, 47> kOfStrings = {
      "capitalize", "casefold",     "center",       "count",   "encode",     "endswith",    "expandtabs",
      "find",       "format",       "format_map",   "index",   "isalnum",    "isalpha",     "isascii",
      "isdecimal",  "isdigit",      "isidentifier", "islower", "isnumeric",  "isprintable", "isspace",
      "istitle",    "isupper",      "join",         "ljust",   "lower",      "lstrip",      "maketrans",
      "partition",  "removeprefix", "removesuffix", "replace", "rfind",      "rindex",      "rjust",
      "rpartition", "rsplit",       "rstrip",       "split",   "splitlines", "startswith",  "strip",
      "swapcase",   "title",        "translate",    "upper",   "zfill"};
  static constexpr std::array<std::string_view, 11> kOfDicts = {"clear",      "copy",   "fromkeys", "get",
                                                                "items",      "keys",   "pop",      "popitem",
                                                                "setdefault", "update", "values"};
  static constexpr std::array<std::string_view, 11> kOfLists = {
      "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"};
  const auto among = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return (object.as_string() != nullptr && among(kOfStrings)) ||
         (object.as_dict() != nullptr && among(kOfDicts)) || (object.as_list() != nullptr && among(kOfLists));
}

}  // namespace

const Value* look_up(const Dict& dict, const std::string& key, Context& context) {
  charge_look_up(dict, key, context);
  return find(dict, key);
}

void put(Dict& dict, const std::string& key, Value value, Context& context) {
  charge_look_up(dict, key, context);
  context.charge(key.size());
  assign(dict, key, std::move(value));
}

std::optional<std::int64_t> whole_number(const Value& value) {
  if (const auto* whole = value.as_integer()) return *whole;
  if (const auto* flag = value.as_boolean()) return *flag ? 1 : 0;
  return std::nullopt;
}

Value calculate(Operator operation, const Value& left, const Value& right, Context& context) {
  if (operation == Operator::concatenate) {
    std::string text = text_of(left, context) + text_of(right, context);
    context.charge(text.size());
    return Value::string(std::move(text));
  }
  const auto a = whole_number(left), b = whole_number(right);
  if (a && b && operation != Operator::divide) return calculate_whole(operation, *a, *b, context);
  const auto x = number(left), y = number(right);
  if (x && y) return calculate_real(operation, *x, *y, context);
  if (operation == Operator::add && left.as_string() != nullptr && right.as_string() != nullptr) {
    context.charge(left.as_string()->size() + right.as_string()->size());
    return Value::string(*left.as_string() + *right.as_string());
  }
  if (operation == Operator::add && left.as_list() != nullptr && right.as_list() != nullptr)
    return add_lists(*left.as_list(), *right.as_list(), context);
  if (operation == Operator::multiply && left.as_string() != nullptr && b)
    return repeat(*left.as_string(), *b, context);
  if (operation == Operator::multiply && right.as_string() != nullptr && a)
    return repeat(*right.as_string(), *a, context);
  refuse_operands(symbol(operation), left, right, context);
}

Value negate(const Value& operand, const Context& context) {
  if (const auto whole = whole_number(operand))
    return calculate_whole(Operator::subtract, 0, *whole, context);
  if (const auto* real = operand.as_real()) return Value::real(-*real);
  context.refuse("operator - before {}", operand.kind());
}

bool equal(const Value& left, const Value& right,
           Context& context) {  // values are finite
  context.charge(8);
  if (left.is_undefined() || right.is_undefined()) return left.is_undefined() && right.is_undefined();
  if (left.is_none() || right.is_none()) return left.is_none() && right.is_none();
  if (const auto ordering = order(left, right, context))
    return *ordering == std::partial_ordering::equivalent;
  if (left.as_list() != nullptr && right.as_list() != nullptr)
    return std::equal(left.as_list()->begin(), left.as_list()->end(), right.as_list()->begin(),
                      right.as_list()->end(),
                      [&](const Value& a, const Value& b) { return equal(a, b, context); });
  if (left.as_dict() != nullptr && right.as_dict() != nullptr) {
    const Dict& a = *left.as_dict();
    const Dict& b = *right.as_dict();
    return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
             const Value* other = look_up(b, entry.first, context);
             return other != nullptr && equal(entry.second, *other, context);
           });
  }
  return left.as_namespace() != nullptr && left.as_namespace() == right.as_namespace();
}

bool compare(Comparison::Operator operation, const Value& left, const Value& right, Context& context) {
  using Kind = Comparison::Operator;
  if (operation == Kind::equal) return equal(left, right, context);
  if (operation == Kind::not_equal) return !equal(left, right, context);
  if (operation == Kind::in) return contains(right, left, context);
  if (operation == Kind::not_in) return !contains(right, left, context);
  const auto ordering = order(left, right, context);
  if (!ordering) refuse_operands("< or >", left, right, context);
  if (operation == Kind::less) return *ordering < 0;
  if (operation == Kind::less_equal) return *ordering <= 0;
  return operation == Kind::greater ? *ordering > 0 : *ordering >= 0;
}

Value item_of(const Value& object, const Value& key, Context& context) {
  if (const auto* dict = object.as_dict()) {
    const std::string* name = key.as_string();
    if (name == nullptr) return Value::undefined("a key that is no string");
    const Value* found = look_up(*dict, *name, context);
    if (found == nullptr && is_method(object, *name))
      context.refuse("the method \"{}\" is not called", *name);
    return found == nullptr ? Value::undefined(*name) : *found;
  }
  const auto index = whole_number(key);
  const bool counted = object.as_list() != nullptr || object.as_string() != nullptr;
  if (!counted) context.refuse("a subscript of {}", object.kind());
  if (key.as_string() != nullptr) return attribute_of(object, *key.as_string(), context);
  if (!index) context.refuse("a subscript of {} by {}", object.kind(), key.kind());
  const auto element = [&](const auto& elements) -> const auto* {
    const auto size = static_cast<std::int64_t>(elements.size());
    const std::int64_t at = *index < 0 ? *index + size : *index;
    return at < 0 || at >= size ? nullptr : &elements[static_cast<std::size_t>(at)];
  };
  if (const auto* list = object.as_list()) {
    const Value* found = element(*list);
    return found == nullptr ? Value::undefined("an element beyond the list") : *found;
  }
  context.charge(object.as_string()->size());
  const auto letters = characters(*object.as_string());
  const std::string_view* found = element(letters);
  return found == nullptr ? Value::undefined("a character beyond the string")
                          : Value::string(std::string(*found));
}

Value attribute_of(const Value& object, const std::string& name, Context& context) {
  if (const auto* loop = object.as_loop()) return loop_attribute(*loop, name, context);
  if (object.is_undefined()) context.refuse("\"{}\" of {}", name, object.kind());
  if (is_method(object, name)) context.refuse("the method \"{}\" is not called", name);
  const Dict* attributes = object.as_dict();
  if (const auto* named = object.as_namespace()) attributes = &named->attributes;
  const Value* found = attributes == nullptr ? nullptr : look_up(*attributes, name, context);
  return found == nullptr ? Value::undefined(name) : *found;
}

Value slice_of(const Value& object, const Value& begin, const Value& end, const Value& step,
               Context& context) {
  if (const auto* list = object.as_list()) {
    const auto size = static_cast<std::int64_t>(list->size());
    context.charge(list->size() * sizeof(Value));
    List result;
    for_each_index(slice_range(size, begin, end, step, context), size,
                   [&](std::size_t at) { result.push_back((*list)[at]); });
    return Value::list(std::move(result));
  }
  const std::string* text = object.as_string();
  if (text == nullptr) context.refuse("a slice of {}", object.kind());
  context.charge(text->size());
  const auto letters = characters(*text);
  const auto size = static_cast<std::int64_t>(letters.size());
  std::string result;
  for_each_index(slice_range(size, begin, end, step, context), size,
                 [&](std::size_t at) { result += letters[at]; });
  return Value::string(std::move(result));
}

std::shared_ptr<const List> items_of(const Value& value, Context& context) {
  List items;
  if (const auto* list = value.as_list()) {
    items = *list;
  } else if (const auto* dict = value.as_dict()) {
    for (const auto& [key, element] : *dict) {
      context.charge(key.size());
      items.push_back(Value::string(key));
    }
  } else if (const auto* text = value.as_string()) {
    context.charge(text->size() * sizeof(Value));
    for (const std::string_view letter : characters(*text))
      items.push_back(Value::string(std::string(letter)));
  } else if (!value.is_undefined()) {
    context.refuse("{} is nothing that can be run through", value.kind());
  }
  context.charge(items.size() * sizeof(Value));
  return std::make_shared<const List>(std::move(items));
}

std::string text_of(const Value& value, Context& context) {
  if (value.is_undefined()) return {};
  if (value.is_none()) return "None";
  if (const auto* flag = value.as_boolean()) return *flag ? "True" : "False";
  if (const auto* whole = value.as_integer()) return std::to_string(*whole);
  if (const auto* real = value.as_real()) {
    const std::string text = fmt::format("{}", *real);
    return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
  }
  const std::string* text = value.as_string();
  if (text == nullptr)
    context.refuse("printing {} is not supported (tojson prints lists and mappings)", value.kind());
  context.charge(text->size());
  return *text;
}

}  // namespace assay::jinja
