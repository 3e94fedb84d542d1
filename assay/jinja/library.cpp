#include "assay/jinja/library.h"

#include <algorithm>

#include "assay/jinja/operators.h"
#include "assay/jinja/text.h"

namespace assay::jinja {

Value ArgumentReader::take(const char* name, Value fallback) {
  const bool by_position = position_ < arguments_.positional.size();
  const Value* found = by_position ? &arguments_.positional[position_++] : nullptr;
  context_.charge(arguments_.named.size());
  for (const auto& [given, value] : arguments_.named)
    if (given == name) {
      if (found != nullptr) context_.refuse("{}: argument \"{}\" is given twice", callee_, name);
      found = &value;
    }
  if (found == nullptr) return fallback;
  ++taken_;
  return *found;
}

Value ArgumentReader::require(const char* name) {
  const std::size_t before = taken_;
  Value value = take(name, {});
  if (taken_ == before) context_.refuse("{}: argument \"{}\" is missing", callee_, name);
  return value;
}

std::string ArgumentReader::require_string(const char* name) {
  const Value value = require(name);
  if (value.as_string() == nullptr)
    context_.refuse("{}: argument \"{}\" is {}, a string expected", callee_, name, value.kind());
  context_.charge(value.as_string()->size());
  return *value.as_string();
}

void ArgumentReader::finish() const {
  if (taken_ != arguments_.positional.size() + arguments_.named.size())
    context_.refuse("{}: an argument that is not supported", callee_);
}

std::string strip(const std::string& text, const Value& unwanted, bool left, bool right, Context& context) {
  std::string_view rest = text;
  context.charge(text.size());
  if (unwanted.is_none()) {
    if (left) rest = strip_left(rest);
    if (right) rest = strip_right(rest);
    return std::string(rest);
  }
  if (unwanted.as_string() == nullptr)
    context.refuse("strip: {} where characters are expected", unwanted.kind());
  context.charge_product(text.size(), unwanted.as_string()->size());
  const auto dropped = characters(*unwanted.as_string());
  const auto letters = characters(text);
  const auto is_dropped = [&](std::string_view letter) {
    return std::find(dropped.begin(), dropped.end(), letter) != dropped.end();
  };
  std::size_t begin = 0, end = letters.size();
  while (left && begin < end && is_dropped(letters[begin])) ++begin;
  while (right && end > begin && is_dropped(letters[end - 1])) --end;
  std::string result;
  for (; begin < end; ++begin) result += letters[begin];
  return result;
}

std::string replace(const std::string& text, const std::string& pattern, const std::string& replacement,
                    std::int64_t count, Context& context) {
  if (pattern.empty()) context.refuse("replace: an empty pattern is not supported");
  context.charge_search(text.size(), pattern.size());
  std::string result;
  std::size_t done = 0;
  for (std::size_t at = text.find(pattern); at != std::string::npos && count != 0;
       at = text.find(pattern, done)) {
    context.charge(at - done + replacement.size());
    result.append(text, done, at - done).append(replacement);
    done = at + pattern.size();
    --count;
  }
  return result.append(text, done);
}

std::string join(const List& items, const std::string& separator, Context& context) {
  std::string result;
  for (const Value& item : items) {
    const std::string text = text_of(item, context);
    context.charge(text.size() + separator.size());
    if (&item != items.data()) result += separator;
    result += text;
  }
  return result;
}

namespace {

void write_json(const Value& value, int indent, int depth, std::string& result, Context& context);

template <class Container, class WriteItem>
void write_items(const Container& items, char open, char close, int indent, int depth, std::string& result,
                 const WriteItem& write_item) {
  result += open;
  const auto new_line = [&](int level) {
    if (indent >= 0) result += '\n' + std::string(static_cast<std::size_t>(indent * level), ' ');
  };
  bool first = true;
  for (const auto& item : items) {
    if (!first) result += indent >= 0 ? "," : ", ";
    first = false;
    new_line(depth + 1);
    write_item(item);
  }
  if (!items.empty()) new_line(depth);
  result += close;
}

void write_json(const Value& value, int indent, int depth, std::string& result, Context& context) {
  context.charge(16 + static_cast<std::size_t>(indent < 0 ? 0 : indent * depth));
  if (value.is_none()) {
    result += "null";
  } else if (const auto* flag = value.as_boolean()) {
    result += *flag ? "true" : "false";
  } else if (value.as_integer() != nullptr || value.as_real() != nullptr) {
    result += text_of(value, context);
  } else if (const auto* text = value.as_string()) {
    context.charge(text->size());
    result += json_quote(*text);
  } else if (const auto* list = value.as_list()) {
    write_items(*list, '[', ']', indent, depth, result,
                [&](const Value& item) { write_json(item, indent, depth + 1, result, context); });
  } else if (const auto* dict = value.as_dict()) {
    write_items(*dict, '{', '}', indent, depth, result, [&](const auto& entry) {
      context.charge(entry.first.size());
      result += json_quote(entry.first) + ": ";
      write_json(entry.second, indent, depth + 1, result, context);
    });
  } else {
    context.refuse("tojson: {} has no JSON form", value.kind());
  }
}

}  // namespace

std::string to_json(const Value& value, int indent, Context& context) {
  std::string result;
  write_json(value, indent, 0, result, context);
  return result;
}

}  // namespace assay::jinja
