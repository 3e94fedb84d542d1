#include <array>

#include "assay/jinja/library.h"
#include "assay/jinja/operators.h"

namespace assay::jinja {
namespace {

bool is_text_or_items(const Value& value) {
  return value.as_string() != nullptr || value.as_list() != nullptr || value.as_dict() != nullptr ||
         value.is_undefined();  // Jinja's undefined runs like an empty list
}

struct TypeTest {
  std::string_view name;
  bool (*holds)(const Value& value);
};

constexpr std::array kTypeTests = {
    TypeTest{"defined", [](const Value& value) { return !value.is_undefined(); }},
    TypeTest{"undefined", [](const Value& value) { return value.is_undefined(); }},
    TypeTest{"none", [](const Value& value) { return value.is_none(); }},
    TypeTest{"string", [](const Value& value) { return value.as_string() != nullptr; }},
    TypeTest{"mapping", [](const Value& value) { return value.as_dict() != nullptr; }},
    TypeTest{"iterable", is_text_or_items},
    TypeTest{"sequence", is_text_or_items},
    TypeTest{"boolean", [](const Value& value) { return value.as_boolean() != nullptr; }},
    TypeTest{"integer", [](const Value& value) { return value.as_integer() != nullptr; }},
    TypeTest{"float", [](const Value& value) { return value.as_real() != nullptr; }},
    TypeTest{
        "number",
        [](const Value& value) { return whole_number(value).has_value() || value.as_real() != nullptr; }},
    TypeTest{"true", [](const Value& value) { return value.as_boolean() != nullptr && *value.as_boolean(); }},
    TypeTest{"false",
             [](const Value& value) { return value.as_boolean() != nullptr && !*value.as_boolean(); }},
    TypeTest{"callable", [](const Value& value) { return value.is_callable(); }},
};

struct ComparisonTest {
  std::string_view name;
  Comparison::Operator operation;
};

constexpr std::array kComparisonTests = {
    ComparisonTest{"eq", Comparison::Operator::equal},
    ComparisonTest{"equalto", Comparison::Operator::equal},
    ComparisonTest{"ne", Comparison::Operator::not_equal},
    ComparisonTest{"lt", Comparison::Operator::less},
    ComparisonTest{"lessthan", Comparison::Operator::less},
    ComparisonTest{"le", Comparison::Operator::less_equal},
    ComparisonTest{"gt", Comparison::Operator::greater},
    ComparisonTest{"greaterthan", Comparison::Operator::greater},
    ComparisonTest{"ge", Comparison::Operator::greater_equal},
    ComparisonTest{"in", Comparison::Operator::in},
};

std::int64_t remainder(const Value& input, const Value& divisor, Context& context) {
  const Value result = calculate(Arithmetic::Operator::modulo, input, divisor, context);
  return whole_number(result).value_or(1);
}

}  // namespace

bool apply_test(const std::string& name, const Value& input, const Arguments& arguments, Context& context) {
  ArgumentReader reader(name, arguments, context);
  for (const TypeTest& test : kTypeTests)
    if (test.name == name) {
      reader.finish();
      return test.holds(input);
    }
  for (const ComparisonTest& test : kComparisonTests)
    if (test.name == name) {
      const Value other = reader.require("other");
      reader.finish();
      return compare(test.operation, input, other, context);
    }
  if (name == "divisibleby") {
    const Value divisor = reader.require("num");
    reader.finish();
    return remainder(input, divisor, context) == 0;
  }
  if (name == "odd" || name == "even") {
    reader.finish();
    return (remainder(input, Value::integer(2), context) == 1) == (name == "odd");
  }
  context.refuse("test \"{}\" is not supported", name);
}

}  // namespace assay::jinja
