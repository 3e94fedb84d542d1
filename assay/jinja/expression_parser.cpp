#include "assay/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <optional>

// Recursive descent: every way into a deeper expression passes parse() or unary(), which count levels.
namespace assay::jinja {
namespace {

constexpr int kDeepestBrackets = 64;  // brackets within brackets
constexpr int kTallest = 128;         // levels of a tree, long chains of operators included

int depth_of(const ExpressionPtr& expression) {
  return expression == nullptr ? 0 : expression->depth;
}
int depth_of(const CallArguments& arguments) {
  int depth = 0;
  for (const auto& argument : arguments.positional) depth = std::max(depth, depth_of(argument));
  for (const auto& [name, argument] : arguments.named) depth = std::max(depth, depth_of(argument));
  return depth;
}

int depth_below(const Literal&) {
  return 0;
}
int depth_below(const Name&) {
  return 0;
}
int depth_below(const ListLiteral& node) {
  int depth = 0;
  for (const auto& item : node.items) depth = std::max(depth, depth_of(item));
  return depth;
}
int depth_below(const DictLiteral& node) {
  int depth = 0;
  for (const auto& [key, item] : node.items) depth = std::max(depth, depth_of(item));
  return depth;
}
int depth_below(const Attribute& node) {
  return depth_of(node.object);
}
int depth_below(const Item& node) {
  return std::max(depth_of(node.object), depth_of(node.key));
}
int depth_below(const Slice& node) {
  return std::max({depth_of(node.object), depth_of(node.begin), depth_of(node.end), depth_of(node.step)});
}
int depth_below(const Call& node) {
  return std::max(depth_of(node.callee), depth_of(node.arguments));
}
int depth_below(const Filter& node) {
  return std::max(depth_of(node.input), depth_of(node.arguments));
}
int depth_below(const Test& node) {
  return std::max(depth_of(node.input), depth_of(node.arguments));
}
int depth_below(const Unary& node) {
  return depth_of(node.operand);
}
int depth_below(const Logical& node) {
  return std::max(depth_of(node.left), depth_of(node.right));
}
int depth_below(const Arithmetic& node) {
  return std::max(depth_of(node.left), depth_of(node.right));
}
int depth_below(const Comparison& node) {
  int depth = depth_of(node.first);
  for (const auto& [operation, operand] : node.rest) depth = std::max(depth, depth_of(operand));
  return depth;
}
int depth_below(const Conditional& node) {
  return std::max({depth_of(node.condition), depth_of(node.then), depth_of(node.otherwise)});
}

std::optional<Comparison::Operator> comparison_operator(const Token& token) {
  using Operator = Comparison::Operator;
  if (token.is("==")) return Operator::equal;
  if (token.is("!=")) return Operator::not_equal;
  if (token.is("<")) return Operator::less;
  if (token.is("<=")) return Operator::less_equal;
  if (token.is(">")) return Operator::greater;
  if (token.is(">=")) return Operator::greater_equal;
  if (token.is_name("in")) return Operator::in;
  return std::nullopt;
}

std::optional<Arithmetic::Operator> product_operator(const Token& token) {
  using Operator = Arithmetic::Operator;
  if (token.is("*")) return Operator::multiply;
  if (token.is("/")) return Operator::divide;
  if (token.is("//")) return Operator::floor_divide;
  if (token.is("%")) return Operator::modulo;
  return std::nullopt;
}

}  // namespace

template <class Node>
ExpressionPtr ExpressionParser::make(Node node) {
  const int depth = 1 + depth_below(node);
  if (depth > kTallest) context_.refuse("an expression of more than {} levels", kTallest);
  return std::make_unique<const Expression>(Expression{context_.line, depth, std::move(node)});
}

ExpressionPtr ExpressionParser::parse(bool with_condition) {
  const Level level(depth_, kDeepestBrackets, context_);
  return with_condition ? conditional() : logical_or();
}

ExpressionPtr ExpressionParser::parse_tuple() {
  ExpressionPtr first = parse();
  if (!tokens_.peek().is(",")) return first;
  ListLiteral list;
  list.items.push_back(std::move(first));
  while (tokens_.skip(",")) {
    if (tokens_.at_end() || tokens_.peek().is(")")) break;
    list.items.push_back(parse());
  }
  return make(std::move(list));
}

ExpressionPtr ExpressionParser::conditional() {
  ExpressionPtr value = logical_or();
  while (tokens_.skip_name("if")) {
    ExpressionPtr condition = logical_or();
    ExpressionPtr otherwise = tokens_.skip_name("else") ? parse() : nullptr;
    value = make(Conditional{std::move(condition), std::move(value), std::move(otherwise)});
  }
  return value;
}

ExpressionPtr ExpressionParser::logical_or() {
  ExpressionPtr left = logical_and();
  while (tokens_.skip_name("or")) left = make(Logical{false, std::move(left), logical_and()});
  return left;
}

ExpressionPtr ExpressionParser::logical_and() {
  ExpressionPtr left = logical_not();
  while (tokens_.skip_name("and")) left = make(Logical{true, std::move(left), logical_not()});
  return left;
}

ExpressionPtr ExpressionParser::logical_not() {
  if (!tokens_.skip_name("not")) return comparison();
  const Level level(depth_, kDeepestBrackets, context_);
  return make(Unary{Unary::Operator::logical_not, logical_not()});
}

ExpressionPtr ExpressionParser::comparison() {
  Comparison chain{sum(), {}};
  for (;;) {
    if (tokens_.peek().is_name("not") && tokens_.peek(1).is_name("in")) {
      tokens_.next();
      tokens_.next();
      chain.rest.emplace_back(Comparison::Operator::not_in, sum());
    } else if (const auto operation = comparison_operator(tokens_.peek())) {
      tokens_.next();
      chain.rest.emplace_back(*operation, sum());
    } else {
      break;
    }
  }
  return chain.rest.empty() ? std::move(chain.first) : make(std::move(chain));
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (tokens_.peek().is("+") || tokens_.peek().is("-")) {
    const auto operation =
        tokens_.next().text == "+" ? Arithmetic::Operator::add : Arithmetic::Operator::subtract;
    left = make(Arithmetic{operation, std::move(left), concatenation()});
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr left = product();
  while (tokens_.skip("~"))
    left = make(Arithmetic{Arithmetic::Operator::concatenate, std::move(left), product()});
  return left;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = unary(true);
  while (const auto operation = product_operator(tokens_.peek())) {
    tokens_.next();
    left = make(Arithmetic{*operation, std::move(left), unary(true)});
  }
  if (tokens_.peek().is("**")) tokens_.unexpected("an operator of the supported kinds");
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const Level level(depth_, kDeepestBrackets, context_);
  ExpressionPtr value;
  if (tokens_.skip("-"))
    value = make(Unary{Unary::Operator::negate, unary(false)});
  else if (tokens_.skip("+"))
    value = make(Unary{Unary::Operator::plus, unary(false)});
  else
    value = primary();
  value = postfix(std::move(value));
  return with_filters ? filters_and_tests(std::move(value)) : std::move(value);
}

ExpressionPtr ExpressionParser::primary() {
  const Token& token = tokens_.peek();
  switch (token.kind) {
    case Token::Kind::name:
      return name();
    case Token::Kind::string:
      return strings();
    case Token::Kind::integer:
    case Token::Kind::real:
      return number();
    case Token::Kind::symbol:
      break;
  }
  if (tokens_.skip("(")) return parenthesized();
  if (tokens_.skip("[")) return list_literal();
  if (tokens_.skip("{")) return dict_literal();
  tokens_.unexpected("an expression");
}

ExpressionPtr ExpressionParser::name() {
  const std::string& text = tokens_.next().text;
  if (text == "true" || text == "True") return make(Literal{Value::boolean(true)});
  if (text == "false" || text == "False") return make(Literal{Value::boolean(false)});
  if (text == "none" || text == "None") return make(Literal{Value::none()});
  return make(Name{text});
}

ExpressionPtr ExpressionParser::strings() {
  std::string text;  // neighbouring literals are one
  while (tokens_.peek().kind == Token::Kind::string) text += tokens_.next().text;
  return make(Literal{Value::string(std::move(text))});
}

ExpressionPtr ExpressionParser::number() {
  const Token& token = tokens_.next();
  const char* const end = token.text.data() + token.text.size();
  if (token.kind == Token::Kind::integer) {
    std::int64_t value = 0;
    if (std::from_chars(token.text.data(), end, value).ec != std::errc())
      context_.refuse("the number {} does not fit 64 bits", token.text);
    return make(Literal{Value::integer(value)});
  }
  double value = 0;
  if (std::from_chars(token.text.data(), end, value).ec != std::errc())
    context_.refuse("the number {} does not fit 64 bits", token.text);
  return make(Literal{Value::real(value)});
}

ExpressionPtr ExpressionParser::parenthesized() {
  if (tokens_.skip(")")) return make(ListLiteral{});
  ExpressionPtr value = parse_tuple();
  tokens_.expect(")");
  return value;
}

ExpressionPtr ExpressionParser::list_literal() {
  ListLiteral list;
  while (!tokens_.skip("]")) {
    if (!list.items.empty()) tokens_.expect(",");
    if (tokens_.skip("]")) break;
    list.items.push_back(parse());
  }
  return make(std::move(list));
}

ExpressionPtr ExpressionParser::dict_literal() {
  DictLiteral dict;
  while (!tokens_.skip("}")) {
    if (!dict.items.empty()) tokens_.expect(",");
    if (tokens_.skip("}")) break;
    if (tokens_.peek().kind != Token::Kind::string) tokens_.unexpected("a string as key");
    std::string key = tokens_.next().text;
    tokens_.expect(":");
    dict.items.emplace_back(std::move(key), parse());
  }
  return make(std::move(dict));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  for (;;) {
    if (tokens_.skip("."))
      object = make(Attribute{std::move(object), tokens_.expect_name()});
    else if (tokens_.skip("["))
      object = subscript(std::move(object));
    else if (tokens_.skip("("))
      object = make(Call{std::move(object), arguments()});
    else
      return object;
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  const auto part = [&]() -> ExpressionPtr {
    const bool absent = tokens_.peek().is(":") || tokens_.peek().is("]");
    return absent ? nullptr : parse();
  };
  ExpressionPtr begin = part();
  if (!tokens_.peek().is(":")) {
    if (begin == nullptr) tokens_.unexpected("a subscript");
    tokens_.expect("]");
    return make(Item{std::move(object), std::move(begin)});
  }
  tokens_.expect(":");
  ExpressionPtr end = part();
  ExpressionPtr step = tokens_.skip(":") ? part() : nullptr;
  tokens_.expect("]");
  return make(Slice{std::move(object), std::move(begin), std::move(end), std::move(step)});
}

ExpressionPtr ExpressionParser::filters_and_tests(ExpressionPtr input) {
  for (;;) {
    if (tokens_.skip("|")) {
      std::string name = tokens_.expect_name();
      input =
          make(Filter{std::move(input), std::move(name), tokens_.skip("(") ? arguments() : CallArguments{}});
    } else if (tokens_.skip_name("is")) {
      input = test(std::move(input));
    } else if (tokens_.skip("(")) {
      input = make(Call{std::move(input), arguments()});
    } else {
      return input;
    }
  }
}

ExpressionPtr ExpressionParser::test(ExpressionPtr input) {
  const bool negated = tokens_.skip_name("not");
  std::string name = tokens_.expect_name();
  CallArguments given;
  const Token& token = tokens_.peek();
  const bool ends = token.is_name("else") || token.is_name("or") || token.is_name("and") ||
                    token.is_name("if") || token.is_name("in") || token.is_name("not");
  if (tokens_.skip("(")) {
    given = arguments();
  } else if (token.is_name("is")) {
    tokens_.unexpected("no second test");
  } else if ((token.kind != Token::Kind::symbol && !ends) || token.is("[") || token.is("{")) {
    given.positional.push_back(postfix(primary()));
  }
  ExpressionPtr result = make(Test{std::move(input), std::move(name), std::move(given)});
  return negated ? make(Unary{Unary::Operator::logical_not, std::move(result)}) : std::move(result);
}

CallArguments ExpressionParser::arguments() {
  CallArguments result;
  bool first = true;
  while (!tokens_.skip(")")) {
    if (!first) {
      tokens_.expect(",");
      if (tokens_.skip(")")) break;
    }
    first = false;
    if (tokens_.peek().kind == Token::Kind::name && tokens_.peek(1).is("=")) {
      std::string name = tokens_.next().text;
      tokens_.expect("=");
      result.named.emplace_back(std::move(name), parse());
    } else {
      if (!result.named.empty()) tokens_.unexpected("a named argument");
      result.positional.push_back(parse());
    }
  }
  return result;
}

}  // namespace assay::jinja
