#include "assay/jinja/interpreter.h"

#include <algorithm>
#include <array>

#include "assay/jinja/builtins.h"
#include "assay/jinja/operators.h"

// The tree's height is bounded by the parser, macros within macros by call(); both are counted here together.
namespace assay::jinja {
namespace {

constexpr int kDeepestRun = 512;   // statements and expressions within each other, macro calls included
constexpr std::size_t kStep = 32;  // what one statement or expression costs

/// Values are compared, printed and released recursively, so they must not nest without end.
Value bounded(Value value, const Context& context) {
  constexpr int kDeepestValue = 64;
  if (value.depth() > kDeepestValue)
    context.refuse("lists or mappings nested deeper than {} levels", kDeepestValue);
  return value;
}

}  // namespace

Interpreter::Interpreter(Dict globals, std::string date, Context& context)
    : context_(context), date_(std::move(date)), scopes_{std::move(globals), Dict{}} {}

std::string Interpreter::run(const Block& block) {
  execute(block);
  return std::move(output_);
}

void Interpreter::write(std::string_view text) {
  context_.charge(text.size());
  output_ += text;
}

std::string Interpreter::capture(const Block& block) {
  std::string outer = std::exchange(output_, {});
  execute(block);
  return std::exchange(output_, std::move(outer));
}

Interpreter::Flow Interpreter::execute(const Block& block) {
  const Level level(depth_, kDeepestRun, context_);
  for (const Statement& statement : block) {
    context_.line = statement.line;
    context_.charge(kStep);
    const Flow flow = std::visit([&](const auto& node) { return execute(node); }, statement.node);
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const TextOutput& node) {
  write(node.text);
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Print& node) {
  write(text_of(evaluate(node.expression), context_));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Set& node) {
  assign_to(node.target, evaluate(node.value));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const SetBlock& node) {
  assign_to(node.target, Value::string(capture(node.body)));
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const If& node) {
  for (const auto& [condition, block] : node.branches)
    if (evaluate(condition).truth()) return execute(block);
  return execute(node.otherwise);
}

/// The items of a loop that its condition lets through.
std::shared_ptr<const List> Interpreter::select(const For& node) {
  auto items = items_of(evaluate(node.items), context_);
  if (node.condition == nullptr) return items;
  List selected;
  for (const Value& item : *items) {
    scopes_.emplace_back();
    assign_to(node.target, item);
    if (evaluate(node.condition).truth()) selected.push_back(item);
    scopes_.pop_back();
  }
  return std::make_shared<const List>(std::move(selected));
}

Interpreter::Flow Interpreter::execute(const For& node) {
  const auto items = select(node);
  if (items->empty()) {
    scopes_.emplace_back();
    const Flow flow = execute(node.otherwise);
    scopes_.pop_back();
    return flow;
  }
  for (std::size_t i = 0; i < items->size(); ++i) {
    context_.charge(kStep);
    scopes_.emplace_back();
    assign_to(node.target, (*items)[i]);
    assign(scopes_.back(), "loop", Value::loop(std::make_shared<const Loop>(Loop{items, i})));
    const Flow flow = execute(node.body);
    scopes_.pop_back();
    if (flow == Flow::end_of_loop) break;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const std::unique_ptr<const Macro>& node) {
  put(scopes_.back(), node->name, Value::macro(node.get()), context_);
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const LoopControl& node) {
  return node.stop ? Flow::end_of_loop : Flow::next_iteration;
}

void Interpreter::assign_to(const Target& target, const Value& value) {
  if (!target.attribute.empty()) {
    const Value object = evaluate(Name{target.names.front()});
    Namespace* named = object.as_namespace();
    if (named == nullptr)
      context_.refuse("\"{}.{}\" is set, but \"{}\" is {}", target.names.front(), target.attribute,
                      target.names.front(), object.kind());
    // A namespace inside itself, at whatever distance, would never be released.
    if (value.holds_state()) context_.refuse("a namespace inside a namespace is not supported");
    return put(named->attributes, target.attribute, value, context_);
  }
  if (target.names.size() == 1) return put(scopes_.back(), target.names.front(), value, context_);
  const auto items = items_of(value, context_);
  if (items->size() != target.names.size())
    context_.refuse("{} names for {} values", target.names.size(), items->size());
  for (std::size_t i = 0; i < items->size(); ++i) put(scopes_.back(), target.names[i], (*items)[i], context_);
}

Value Interpreter::evaluate(const ExpressionPtr& expression) {
  const Level level(depth_, kDeepestRun, context_);
  context_.line = expression->line;
  context_.charge(kStep);
  return std::visit([&](const auto& node) { return evaluate(node); }, expression->node);
}

Value Interpreter::evaluate_or_none(const ExpressionPtr& expression) {
  return expression == nullptr ? Value::none() : evaluate(expression);
}

Value Interpreter::evaluate(const Literal& node) {
  return node.value;
}

Value Interpreter::evaluate(const Name& node) {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const Value* found = look_up(*scope, node.name, context_)) return *found;
  }
  // Names that Jinja defines: to take them for undefined would be silently wrong.
  static constexpr std::array<std::string_view, 8> kJinja = {"dict", "lipsum", "cycler",  "joiner",
                                                             "self", "caller", "varargs", "kwargs"};
  if (std::find(kJinja.begin(), kJinja.end(), node.name) != kJinja.end())
    context_.refuse("\"{}\" is not supported", node.name);
  return Value::undefined(node.name);
}

Value Interpreter::evaluate(const ListLiteral& node) {
  List items;
  for (const auto& item : node.items) items.push_back(evaluate(item));
  return bounded(Value::list(std::move(items)), context_);
}

Value Interpreter::evaluate(const DictLiteral& node) {
  Dict items;
  for (const auto& [key, item] : node.items) put(items, key, evaluate(item), context_);
  return bounded(Value::dict(std::move(items)), context_);
}

Value Interpreter::evaluate(const Attribute& node) {
  return attribute_of(evaluate(node.object), node.name, context_);
}

Value Interpreter::evaluate(const Item& node) {
  const Value object = evaluate(node.object);
  return item_of(object, evaluate(node.key), context_);
}

Value Interpreter::evaluate(const Slice& node) {
  const Value object = evaluate(node.object), begin = evaluate_or_none(node.begin),
              end = evaluate_or_none(node.end);
  return slice_of(object, begin, end, evaluate_or_none(node.step), context_);
}

Value Interpreter::evaluate(const Filter& node) {
  const Value input = evaluate(node.input);
  const Arguments arguments = evaluate(node.arguments);
  return apply_filter(node.name, input, arguments, context_);
}

Value Interpreter::evaluate(const Test& node) {
  const Value input = evaluate(node.input);
  const Arguments arguments = evaluate(node.arguments);
  return Value::boolean(apply_test(node.name, input, arguments, context_));
}

Value Interpreter::evaluate(const Unary& node) {
  const Value operand = evaluate(node.operand);
  if (node.operation == Unary::Operator::logical_not) return Value::boolean(!operand.truth());
  const Value negative = negate(operand, context_);
  return node.operation == Unary::Operator::negate ? negative : negate(negative, context_);
}

Value Interpreter::evaluate(const Logical& node) {
  Value left = evaluate(node.left);
  return left.truth() == node.conjunction ? evaluate(node.right) : std::move(left);
}

Value Interpreter::evaluate(const Arithmetic& node) {
  const Value left = evaluate(node.left);
  return calculate(node.operation, left, evaluate(node.right), context_);
}

Value Interpreter::evaluate(const Comparison& node) {
  Value left = evaluate(node.first);
  for (const auto& [operation, operand] : node.rest) {
    Value right = evaluate(operand);
    if (!compare(operation, left, right, context_)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate(const Conditional& node) {
  if (evaluate(node.condition).truth()) return evaluate(node.then);
  return node.otherwise == nullptr ? Value::undefined("an if without else") : evaluate(node.otherwise);
}

Arguments Interpreter::evaluate(const CallArguments& arguments) {
  Arguments result;
  for (const auto& argument : arguments.positional) result.positional.push_back(evaluate(argument));
  for (const auto& [name, argument] : arguments.named) result.named.emplace_back(name, evaluate(argument));
  return result;
}

Value Interpreter::evaluate(const Call& node) {
  if (const auto* attribute = std::get_if<Attribute>(&node.callee->node)) {
    const Value object = evaluate(attribute->object);
    if (object.is_undefined()) context_.refuse("\"{}\" of {}", attribute->name, object.kind());
    const Arguments arguments = evaluate(node.arguments);
    return call_method(object, attribute->name, arguments, context_);
  }
  const Value callee = evaluate(node.callee);
  return call(callee, evaluate(node.arguments));
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (const Macro* macro = callee.as_macro()) return call(*macro, arguments);
  if (const Function* function = callee.as_function())
    return call_builtin(*function, arguments, date_, context_);
  context_.refuse("{} is called", callee.kind());
}

Value Interpreter::call(const Macro& macro, const Arguments& arguments) {
  constexpr int kDeepestCall = 32;
  const Level level(macros_, kDeepestCall, context_);
  ArgumentReader reader(macro.name, arguments, context_);
  // A macro sees the template's own names, not those of the loops it is called from.
  std::vector<Dict> outer(std::make_move_iterator(scopes_.begin() + 2),
                          std::make_move_iterator(scopes_.end()));
  scopes_.resize(2);
  scopes_.emplace_back();
  for (const auto& [name, fallback] : macro.parameters) {
    Value value = reader.take(name.c_str(), Value::undefined(name));
    if (value.is_undefined() && fallback != nullptr) value = evaluate(fallback);
    put(scopes_.back(), name, std::move(value), context_);
  }
  reader.finish();
  std::string text = capture(macro.body);
  scopes_.pop_back();
  std::move(outer.begin(), outer.end(), std::back_inserter(scopes_));
  return Value::string(std::move(text));
}

}  // namespace assay::jinja
