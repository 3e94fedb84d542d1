#include "assay/jinja/builtins.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "assay/jinja/operators.h"

namespace assay::jinja {
namespace {

Value range(const Arguments& arguments, Context& context) {
  ArgumentReader reader("range", arguments, context);
  const auto whole = [&](const Value& value) {
    const auto number = whole_number(value);
    if (!number) context.refuse("range: {} where a whole number is expected", value.kind());
    return *number;
  };
  std::int64_t begin = 0, end = whole(reader.require("stop"));
  const Value second = reader.take("stop", Value::none());
  if (!second.is_none()) {
    begin = end;
    end = whole(second);
  }
  const std::int64_t step = whole(reader.take("step", Value::integer(1)));
  reader.finish();
  if (step == 0) context.refuse("range: a step of 0");
  List numbers;
  for (std::int64_t at = begin; step > 0 ? at < end : at > end;) {
    context.charge(sizeof(Value));
    numbers.push_back(Value::integer(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return Value::list(std::move(numbers));
}

Value make_namespace(const Arguments& arguments, Context& context) {
  if (!arguments.positional.empty()) context.refuse("namespace: only named arguments are supported");
  auto result = std::make_shared<Namespace>();
  for (const auto& [name, value] : arguments.named) {
    if (value.holds_state()) context.refuse("a namespace inside a namespace is not supported");
    put(result->attributes, name, value, context);
  }
  return Value::name_space(std::move(result));
}

[[noreturn]] void raise(const Arguments& arguments, Context& context) {
  ArgumentReader reader("raise_exception", arguments, context);
  const std::string message = text_of(reader.require("message"), context);
  reader.finish();
  context.refuse("the template refuses these messages: {}", message);
}

Value format_date(const Arguments& arguments, const std::string& date, Context& context) {
  static constexpr std::array kMonths = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
  ArgumentReader reader("strftime_now", arguments, context);
  const std::string format = reader.require_string("format");
  reader.finish();
  if (date.empty()) context.refuse("the template asks for today's date (strftime_now), and none is given");
  int month = 0;
  const bool shaped = date.size() == 10 && date[4] == '-' && date[7] == '-' &&
                      std::from_chars(date.data() + 5, date.data() + 7, month).ptr == date.data() + 7;
  if (!shaped || month < 1 || month > 12)
    context.refuse("the date \"{}\" is not of the form 2024-07-26", date);
  const std::string name = kMonths[static_cast<std::size_t>(month - 1)];
  context.charge(format.size() * name.size());
  std::string result;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      result += format[i];
      continue;
    }
    const char directive = ++i < format.size() ? format[i] : '\0';
    switch (directive) {
      case 'd':
        result += date.substr(8);
        break;
      case 'm':
        result += date.substr(5, 2);
        break;
      case 'Y':
        result += date.substr(0, 4);
        break;
      case 'y':
        result += date.substr(2, 2);
        break;
      case 'b':
        result += name.substr(0, 3);
        break;
      case 'B':
        result += name;
        break;
      case '%':
        result += '%';
        break;
      default:
        context.refuse("strftime_now: \"{}\" holds a directive that is not supported", format);
    }
  }
  return Value::string(std::move(result));
}

}  // namespace

Value call_builtin(Function function, const Arguments& arguments, const std::string& date, Context& context) {
  switch (function) {
    case Function::range:
      return range(arguments, context);
    case Function::make_namespace:
      return make_namespace(arguments, context);
    case Function::raise_exception:
      raise(arguments, context);
    case Function::strftime_now:
      return format_date(arguments, date, context);
  }
  context.refuse("an unknown function");
}

}  // namespace assay::jinja
