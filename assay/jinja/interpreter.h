#pragma once
// Runs a template's syntax tree.
#include <string>
#include <vector>

#include "assay/jinja/context.h"
#include "assay/jinja/library.h"
#include "assay/jinja/syntax.h"

namespace assay::jinja {

class Interpreter {
 public:
  /// `date` ("2024-07-26"): what strftime_now formats; "" refuses it.
  Interpreter(Dict globals, std::string date, Context& context);

  /// The text that the template prints. Throws Error.
  std::string run(const Block& block);

 private:
  enum class Flow { normal, next_iteration, end_of_loop };

  Flow execute(const Block& block);
  Flow execute(const TextOutput& node);
  Flow execute(const Print& node);
  Flow execute(const Set& node);
  Flow execute(const SetBlock& node);
  Flow execute(const If& node);
  Flow execute(const For& node);
  Flow execute(const std::unique_ptr<const Macro>& node);
  Flow execute(const LoopControl& node);

  Value evaluate(const ExpressionPtr& expression);
  Value evaluate(const Literal& node);
  Value evaluate(const Name& node);
  Value evaluate(const ListLiteral& node);
  Value evaluate(const DictLiteral& node);
  Value evaluate(const Attribute& node);
  Value evaluate(const Item& node);
  Value evaluate(const Slice& node);
  Value evaluate(const Call& node);
  Value evaluate(const Filter& node);
  Value evaluate(const Test& node);
  Value evaluate(const Unary& node);
  Value evaluate(const Logical& node);
  Value evaluate(const Arithmetic& node);
  Value evaluate(const Comparison& node);
  Value evaluate(const Conditional& node);

  Value evaluate_or_none(const ExpressionPtr& expression);
  Arguments evaluate(const CallArguments& arguments);
  Value call(const Value& callee, const Arguments& arguments);
  Value call(const Macro& macro, const Arguments& arguments);
  std::string capture(const Block& block);
  std::shared_ptr<const List> select(const For& node);
  void write(std::string_view text);
  void assign_to(const Target& target, const Value& value);

  Context& context_;
  std::string date_;
  std::vector<Dict> scopes_;  // globals, the template's, then one for each loop around
  std::string output_;
  int depth_ = 0, macros_ = 0;
};

}  // namespace assay::jinja
