#pragma once
// The tokens of one tag, consumed from the left.
#include <string>
#include <vector>

#include "assay/jinja/context.h"
#include "assay/jinja/lexer.h"

namespace assay::jinja {

class TokenStream {
 public:
  TokenStream(const std::vector<Token>& tokens, Context& context) : tokens_(tokens), context_(context) {}

  bool at_end() const { return at_ == tokens_.size(); }
  /// The token `ahead` of the current one; an empty symbol behind the last.
  const Token& peek(std::size_t ahead = 0) const {
    static const Token kEnd;
    return at_ + ahead < tokens_.size() ? tokens_[at_ + ahead] : kEnd;
  }
  const Token& next() {
    if (at_end()) context_.refuse("the tag ends too early");
    context_.line = tokens_[at_].line;
    return tokens_[at_++];
  }
  bool skip(std::string_view symbol) { return advance_if(peek().is(symbol)); }
  bool skip_name(std::string_view name) { return advance_if(peek().is_name(name)); }
  void expect(std::string_view symbol) {
    if (!skip(symbol)) unexpected(symbol);
  }
  std::string expect_name() {
    if (peek().kind != Token::Kind::name) unexpected("a name");
    return next().text;
  }
  void expect_end() const {
    if (!at_end()) unexpected("the end of the tag");
  }
  [[noreturn]] void unexpected(std::string_view expected) const {
    if (at_end()) context_.refuse("the tag ends where {} is expected", expected);
    context_.line = peek().line;
    context_.refuse("found \"{}\" where {} is expected", peek().text, expected);
  }

 private:
  bool advance_if(bool condition) {
    if (condition) next();
    return condition;
  }

  const std::vector<Token>& tokens_;
  Context& context_;
  std::size_t at_ = 0;
};

}  // namespace assay::jinja
