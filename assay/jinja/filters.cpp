#include <array>
#include <charconv>
#include <cmath>

#include "assay/jinja/library.h"
#include "assay/jinja/operators.h"
#include "assay/jinja/text.h"

namespace assay::jinja {
namespace {

Value trim(const Value& input, ArgumentReader& arguments, Context& context) {
  return Value::string(
      strip(text_of(input, context), arguments.take("chars", Value::none()), true, true, context));
}

Value length(const Value& input, ArgumentReader&, Context& context) {
  if (const auto* text = input.as_string()) {
    context.charge(text->size());
    return Value::integer(static_cast<std::int64_t>(characters(*text).size()));
  }
  if (const auto* list = input.as_list()) return Value::integer(static_cast<std::int64_t>(list->size()));
  if (const auto* dict = input.as_dict()) return Value::integer(static_cast<std::int64_t>(dict->size()));
  if (!input.is_undefined()) context.refuse("the length of {}", input.kind());
  return Value::integer(0);
}

Value tojson(const Value& input, ArgumentReader& arguments, Context& context) {
  const Value indent = arguments.take("indent", Value::none());
  const auto width = whole_number(indent);
  if (!indent.is_none() && (!width || *width < 0 || *width > 16))
    context.refuse("tojson: indent is not a whole number up to 16");
  return Value::string(to_json(input, static_cast<int>(width.value_or(-1)), context));
}

Value join_items(const Value& input, ArgumentReader& arguments, Context& context) {
  const Value separator = arguments.take("d", Value::string({}));
  return Value::string(join(*items_of(input, context), text_of(separator, context), context));
}

Value first(const Value& input, ArgumentReader&, Context& context) {
  const auto items = items_of(input, context);
  return items->empty() ? Value::undefined("the first of nothing") : items->front();
}

Value last(const Value& input, ArgumentReader&, Context& context) {
  const auto items = items_of(input, context);
  return items->empty() ? Value::undefined("the last of nothing") : items->back();
}

Value fallback(const Value& input, ArgumentReader& arguments, Context&) {
  Value instead = arguments.take("default_value", Value::string({}));
  const bool also_false = arguments.take("boolean", Value::boolean(false)).truth();
  return input.is_undefined() || (also_false && !input.truth()) ? std::move(instead) : input;
}

template <LetterCase letter_case>
Value with_case(const Value& input, ArgumentReader&, Context& context) {
  return Value::string(change_case(text_of(input, context), letter_case, context));
}

Value list(const Value& input, ArgumentReader&, Context& context) {
  return Value::list(*items_of(input, context));
}

Value items(const Value& input, ArgumentReader&, Context& context) {
  List pairs;
  if (input.as_dict() == nullptr && !input.is_undefined())
    context.refuse("items: {} is no mapping", input.kind());
  if (const auto* dict = input.as_dict())
    for (const auto& [key, value] : *dict) {
      context.charge(key.size() + 4 * sizeof(Value));
      pairs.push_back(Value::list({Value::string(key), value}));
    }
  return Value::list(std::move(pairs));
}

Value string(const Value& input, ArgumentReader&, Context& context) {
  return Value::string(text_of(input, context));
}

/// A decimal number in the text, all of it, or nothing.
std::optional<double> parse_real(std::string_view text, Context& context) {
  context.charge(text.size());
  text = strip_right(strip_left(text));
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = problem == std::errc() && end == text.data() + text.size() && std::isfinite(value);
  return whole ? std::optional(value) : std::nullopt;
}

Value truncated(double value, const Context& context) {
  if (!(std::fabs(value) < 0x1p63)) context.refuse("int: {} does not fit 64 bits", value);
  return Value::integer(static_cast<std::int64_t>(value));
}

Value to_integer(const Value& input, ArgumentReader& arguments, Context& context) {
  Value instead = arguments.take("default", Value::integer(0));
  if (const auto whole = whole_number(input)) return Value::integer(*whole);
  if (const auto* real = input.as_real()) return truncated(*real, context);
  if (input.is_undefined()) context.refuse("int: the input is {}", input.kind());
  const auto parsed = input.as_string() == nullptr ? std::nullopt : parse_real(*input.as_string(), context);
  return parsed ? truncated(*parsed, context) : std::move(instead);
}

Value to_real(const Value& input, ArgumentReader& arguments, Context& context) {
  Value instead = arguments.take("default", Value::real(0));
  if (const auto whole = whole_number(input)) return Value::real(static_cast<double>(*whole));
  if (input.as_real() != nullptr) return input;
  if (input.is_undefined()) context.refuse("float: the input is {}", input.kind());
  const auto parsed = input.as_string() == nullptr ? std::nullopt : parse_real(*input.as_string(), context);
  return parsed ? Value::real(*parsed) : std::move(instead);
}

Value replaced(const Value& input, ArgumentReader& arguments, Context& context) {
  const std::string pattern = arguments.require_string("old"), replacement = arguments.require_string("new");
  const auto count = whole_number(arguments.take("count", Value::integer(-1)));
  if (!count) context.refuse("replace: count is not a whole number");
  return Value::string(replace(text_of(input, context), pattern, replacement, *count, context));
}

Value reverse(const Value& input, ArgumentReader&, Context& context) {
  return slice_of(input, Value::none(), Value::none(), Value::integer(-1), context);
}

Value absolute(const Value& input, ArgumentReader&, Context& context) {
  const bool negative = compare(Comparison::Operator::less, input, Value::integer(0), context);
  return negative ? negate(input, context) : input;
}

struct FilterEntry {
  std::string_view name;
  Value (*apply)(const Value& input, ArgumentReader& arguments, Context& context);
};

constexpr std::array kFilters = {
    FilterEntry{"trim", trim},
    FilterEntry{"length", length},
    FilterEntry{"count", length},
    FilterEntry{"tojson", tojson},
    FilterEntry{"join", join_items},
    FilterEntry{"first", first},
    FilterEntry{"last", last},
    FilterEntry{"default", fallback},
    FilterEntry{"d", fallback},
    FilterEntry{"upper", with_case<LetterCase::upper>},
    FilterEntry{"lower", with_case<LetterCase::lower>},
    FilterEntry{"capitalize", with_case<LetterCase::capitalized>},
    FilterEntry{"list", list},
    FilterEntry{"items", items},
    FilterEntry{"string", string},
    FilterEntry{"int", to_integer},
    FilterEntry{"float", to_real},
    FilterEntry{"replace", replaced},
    FilterEntry{"reverse", reverse},
    FilterEntry{"abs", absolute},
};

}  // namespace

Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments,
                   Context& context) {
  for (const FilterEntry& filter : kFilters)
    if (filter.name == name) {
      ArgumentReader reader(name, arguments, context);
      Value result = filter.apply(input, reader, context);
      reader.finish();
      return result;
    }
  context.refuse("filter \"{}\" is not supported", name);
}

}  // namespace assay::jinja
