#pragma once
// The syntax tree of a template.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "assay/jinja/value.h"

namespace assay::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
};

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct ListLiteral {  // tuples too
  std::vector<ExpressionPtr> items;
};
struct DictLiteral {
  std::vector<std::pair<std::string, ExpressionPtr>> items;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Item {
  ExpressionPtr object, key;
};
struct Slice {
  ExpressionPtr object, begin, end, step;  // the last three may be null
};
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct Filter {
  ExpressionPtr input;
  std::string name;
  CallArguments arguments;
};
struct Test {
  ExpressionPtr input;
  std::string name;
  CallArguments arguments;
};
struct Unary {
  enum class Operator { negate, plus, logical_not };
  Operator operation;
  ExpressionPtr operand;
};
struct Logical {
  bool conjunction;  // and; else or
  ExpressionPtr left, right;
};
struct Arithmetic {
  enum class Operator { add, subtract, multiply, divide, floor_divide, modulo, concatenate };
  Operator operation;
  ExpressionPtr left, right;
};
struct Comparison {  // a < b <= c
  enum class Operator { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };
  ExpressionPtr first;
  std::vector<std::pair<Operator, ExpressionPtr>> rest;
};
struct Conditional {
  ExpressionPtr condition, then, otherwise;  // otherwise may be null
};

struct Expression {
  int line;
  int depth;  // levels of expressions below, itself included: what evaluation recurses through
  std::variant<Literal, Name, ListLiteral, DictLiteral, Attribute, Item, Slice, Call, Filter, Test, Unary,
               Logical, Arithmetic, Comparison, Conditional>
      node;
};

struct Statement;
using Block = std::vector<Statement>;

/// What a set or a for assigns to: names (several unpack a list), or one attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  std::string attribute;  // of names[0]; "" for plain names
};

struct TextOutput {
  std::string text;
};
struct Print {
  ExpressionPtr expression;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {  // {% set x %}...{% endset %}
  Target target;
  Block body;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Block>> branches;
  Block otherwise;
};
struct For {
  Target target;
  ExpressionPtr items;
  ExpressionPtr condition;  // for x in xs if condition; may be null
  Block body, otherwise;
};
struct Macro {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with defaults, which may be null
  Block body;
};
struct LoopControl {
  bool stop;  // break; else continue
};

struct Statement {
  int line;
  std::variant<TextOutput, Print, Set, SetBlock, If, For, std::unique_ptr<const Macro>, LoopControl> node;
};

}  // namespace assay::jinja
