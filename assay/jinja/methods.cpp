#include <algorithm>
#include <array>

#include "assay/jinja/library.h"
#include "assay/jinja/operators.h"
#include "assay/jinja/text.h"

namespace assay::jinja {
namespace {

template <bool left, bool right>
Value stripped(const std::string& text, ArgumentReader& arguments, Context& context) {
  return Value::string(strip(text, arguments.take("chars", Value::none()), left, right, context));
}

/// Words between white space, as split() without a separator finds them.
List split_words(std::string_view text, std::int64_t most, Context& context) {
  List words;
  for (text = strip_left(text); !text.empty(); text = strip_left(text)) {
    context.charge(sizeof(Value));
    std::size_t end = 0;
    if (most == static_cast<std::int64_t>(words.size())) {
      words.push_back(Value::string(std::string(text)));  // the rest, as it is
      break;
    }
    while (end < text.size() && strip_left(text.substr(end)).size() == text.size() - end) ++end;
    words.push_back(Value::string(std::string(text.substr(0, end))));
    text.remove_prefix(end);
  }
  return words;
}

Value split(const std::string& text, ArgumentReader& arguments, Context& context) {
  const Value separator = arguments.take("sep", Value::none());
  const auto most = whole_number(arguments.take("maxsplit", Value::integer(-1)));
  if (!most) context.refuse("split: maxsplit is not a whole number");
  context.charge(text.size());
  if (separator.is_none()) return Value::list(split_words(text, *most, context));
  const std::string* pattern = separator.as_string();
  if (pattern == nullptr || pattern->empty())
    context.refuse("split: the separator is not a string, or empty");
  context.charge_search(text.size(), pattern->size());
  List parts;
  std::size_t done = 0;
  for (std::size_t at = text.find(*pattern); at != std::string::npos; at = text.find(*pattern, done)) {
    if (*most >= 0 && *most <= static_cast<std::int64_t>(parts.size())) break;
    context.charge(sizeof(Value));
    parts.push_back(Value::string(text.substr(done, at - done)));
    done = at + pattern->size();
  }
  parts.push_back(Value::string(text.substr(done)));
  return Value::list(std::move(parts));
}

/// startswith and endswith take one string, or a tuple of which one must fit.
template <class Fits>
Value any_fits(const Value& wanted, Context& context, const Fits& fits) {
  const auto fits_charged = [&](const std::string& part) {
    context.charge(8 + part.size());
    return fits(part);
  };
  if (wanted.as_string() != nullptr) return Value::boolean(fits_charged(*wanted.as_string()));
  if (wanted.as_list() == nullptr)
    context.refuse("startswith or endswith: {} where a string is expected", wanted.kind());
  bool any = false;
  context.charge(wanted.as_list()->size());
  for (const Value& one : *wanted.as_list()) {
    if (one.as_string() == nullptr) context.refuse("startswith or endswith: {} in the list", one.kind());
    any = any || fits_charged(*one.as_string());
  }
  return Value::boolean(any);
}

Value starts_with(const std::string& text, ArgumentReader& arguments, Context& context) {
  return any_fits(arguments.require("prefix"), context,
                  [&](const std::string& part) { return text.starts_with(part); });
}

Value ends_with(const std::string& text, ArgumentReader& arguments, Context& context) {
  return any_fits(arguments.require("suffix"), context,
                  [&](const std::string& part) { return text.ends_with(part); });
}

Value remove_prefix(const std::string& text, ArgumentReader& arguments, Context& context) {
  context.charge(text.size());
  const std::string part = arguments.require_string("prefix");
  return Value::string(text.starts_with(part) ? text.substr(part.size()) : text);
}

Value remove_suffix(const std::string& text, ArgumentReader& arguments, Context& context) {
  context.charge(text.size());
  const std::string part = arguments.require_string("suffix");
  return Value::string(text.ends_with(part) ? text.substr(0, text.size() - part.size()) : text);
}

template <LetterCase letter_case>
Value with_case(const std::string& text, ArgumentReader&, Context& context) {
  context.charge(text.size());
  return Value::string(change_case(text, letter_case, context));
}

Value replaced(const std::string& text, ArgumentReader& arguments, Context& context) {
  const std::string pattern = arguments.require_string("old"), replacement = arguments.require_string("new");
  const auto count = whole_number(arguments.take("count", Value::integer(-1)));
  if (!count) context.refuse("replace: count is not a whole number");
  return Value::string(replace(text, pattern, replacement, *count, context));
}

Value joined(const std::string& text, ArgumentReader& arguments, Context& context) {
  const auto items = items_of(arguments.require("iterable"), context);
  for (const Value& item : *items)
    if (item.as_string() == nullptr) context.refuse("join: {} among the strings", item.kind());
  return Value::string(join(*items, text, context));
}

Value find_part(const std::string& text, ArgumentReader& arguments, Context& context) {
  const std::string part = arguments.require_string("sub");
  context.charge_search(text.size(), part.size());
  const std::size_t at = text.find(part);
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(static_cast<std::int64_t>(characters(std::string_view(text).substr(0, at)).size()));
}

Value count_parts(const std::string& text, ArgumentReader& arguments, Context& context) {
  const std::string part = arguments.require_string("sub");
  if (part.empty()) context.refuse("count: an empty string is not supported");
  context.charge_search(text.size(), part.size());
  std::int64_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size()))
    ++count;
  return Value::integer(count);
}

struct StringMethod {
  std::string_view name;
  Value (*call)(const std::string& text, ArgumentReader& arguments, Context& context);
};

constexpr std::array kStringMethods = {
    StringMethod{"strip", stripped<true, true>},
    StringMethod{"lstrip", stripped<true, false>},
    StringMethod{"rstrip", stripped<false, true>},
    StringMethod{"split", split},
    StringMethod{"startswith", starts_with},
    StringMethod{"endswith", ends_with},
    StringMethod{"removeprefix", remove_prefix},
    StringMethod{"removesuffix", remove_suffix},
    StringMethod{"upper", with_case<LetterCase::upper>},
    StringMethod{"lower", with_case<LetterCase::lower>},
    StringMethod{"title", with_case<LetterCase::title>},
    StringMethod{"capitalize", with_case<LetterCase::capitalized>},
    StringMethod{"replace", replaced},
    StringMethod{"join", joined},
    StringMethod{"find", find_part},
    StringMethod{"count", count_parts},
};

Value call_dict_method(const Dict& dict, const std::string& name, ArgumentReader& arguments,
                       Context& context) {
  if (name == "get") {
    const std::string key = arguments.require_string("key");
    Value fallback = arguments.take("default", Value::none());
    const Value* found = look_up(dict, key, context);
    return found == nullptr ? std::move(fallback) : *found;
  }
  List result;
  for (const auto& [key, value] : dict) {
    context.charge(key.size() + 4 * sizeof(Value));
    if (name == "keys") result.push_back(Value::string(key));
    if (name == "values") result.push_back(value);
    if (name == "items") result.push_back(Value::list({Value::string(key), value}));
  }
  if (name != "keys" && name != "values" && name != "items")
    context.refuse("method \"{}\" of a mapping is not supported", name);
  return Value::list(std::move(result));
}

}  // namespace

Value call_method(const Value& object, const std::string& name, const Arguments& arguments,
                  Context& context) {
  ArgumentReader reader(name, arguments, context);
  Value result;
  if (const auto* dict = object.as_dict()) {
    result = call_dict_method(*dict, name, reader, context);
  } else if (const auto* text = object.as_string()) {
    const auto* const method = std::find_if(kStringMethods.begin(), kStringMethods.end(),
                                            [&](const StringMethod& entry) { return entry.name == name; });
    if (method == kStringMethods.end()) context.refuse("method \"{}\" of a string is not supported", name);
    result = method->call(*text, reader, context);
  } else {
    context.refuse("method \"{}\" of {} is not supported", name, object.kind());
  }
  reader.finish();
  return result;
}

}  // namespace assay::jinja
