#pragma once
// Expressions, with Jinja's precedences: a filter or test binds tightest, then * / // %, ~, + -, comparisons,
// not, and, or, "a if b else c".
#include "assay/jinja/syntax.h"
#include "assay/jinja/token_stream.h"

namespace assay::jinja {

class ExpressionParser {
 public:
  ExpressionParser(TokenStream& tokens, Context& context) : tokens_(tokens), context_(context) {}

  /// A whole expression; `with_condition` false leaves an "if" behind it alone (the filter of a for).
  ExpressionPtr parse(bool with_condition = true);
  /// As parse; commas make a list.
  ExpressionPtr parse_tuple();

 private:
  ExpressionPtr conditional();
  ExpressionPtr logical_or();
  ExpressionPtr logical_and();
  ExpressionPtr logical_not();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr name();
  ExpressionPtr strings();
  ExpressionPtr number();
  ExpressionPtr parenthesized();
  ExpressionPtr list_literal();
  ExpressionPtr dict_literal();
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr filters_and_tests(ExpressionPtr input);
  ExpressionPtr test(ExpressionPtr input);
  CallArguments arguments();
  template <class Node>
  ExpressionPtr make(Node node);

  TokenStream& tokens_;
  Context& context_;
  int depth_ = 0;
};

}  // namespace assay::jinja
