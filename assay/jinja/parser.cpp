#include "assay/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "assay/jinja/expression_parser.h"
#include "assay/jinja/lexer.h"
#include "assay/jinja/token_stream.h"

// Blocks nest; block() counts the levels.
namespace assay::jinja {
namespace {

constexpr int kDeepestBlocks = 32;

class Parser {
 public:
  Parser(const std::string& source, Context& context)
      : context_(context), segments_(tokenize_template(source, context)) {}

  Block run() {
    Block result = block({});
    return result;
  }

 private:
  /// Name of the block tag at hand, "" for text and prints.
  std::string tag() const {
    const Segment& segment = segments_[at_];
    if (segment.kind != Segment::Kind::block) return {};
    context_.line = segment.line;
    if (segment.tokens.empty() || segment.tokens.front().kind != Token::Kind::name)
      context_.refuse("a block tag without a name");
    return segment.tokens.front().text;
  }

  /// Statements up to one of the tags, which is left to the caller; with none given, up to the end.
  Block block(std::initializer_list<std::string_view> ends) {
    const Level level(depth_, kDeepestBlocks, context_);
    Block statements;
    for (; at_ < segments_.size(); ++at_) {
      const std::string name = tag();
      if (std::find(ends.begin(), ends.end(), name) != ends.end()) return statements;
      const int line = segments_[at_].line;
      context_.line = line;
      if (segments_[at_].kind == Segment::Kind::text) {
        statements.push_back({line, TextOutput{std::move(segments_[at_].text)}});
      } else if (segments_[at_].kind == Segment::Kind::print) {
        TokenStream tokens(segments_[at_].tokens, context_);
        ExpressionPtr expression = ExpressionParser(tokens, context_).parse_tuple();
        tokens.expect_end();
        statements.push_back({line, Print{std::move(expression)}});
      } else {
        statement(name, line, statements);
      }
    }
    if (ends.size() != 0)
      context_.refuse("the template ends where {{% {} %}} is expected", *(ends.end() - 1));
    return statements;
  }

  /// Parses one statement, leaving at_ on the last segment of it.
  void statement(const std::string& name, int line, Block& statements) {
    TokenStream tokens(segments_[at_].tokens, context_);
    tokens.next();
    if (name == "set") return statements.push_back(set(tokens, line));
    if (name == "if") return statements.push_back(branch(tokens, line));
    if (name == "for") return statements.push_back(loop(tokens, line));
    if (name == "macro") return statements.push_back(macro(tokens, line));
    if (name == "break" || name == "continue") {
      tokens.expect_end();
      if (loops_ == 0) context_.refuse("{{% {} %}} outside a loop", name);
      return statements.push_back({line, LoopControl{name == "break"}});
    }
    if (name == "generation") {  // transformers' mark around what the model wrote: prints its body
      tokens.expect_end();
      ++at_;
      Block body = block({"endgeneration"});
      std::move(body.begin(), body.end(), std::back_inserter(statements));
      return;
    }
    context_.refuse("{{% {} %}} is not supported", name);
  }

  Target target(TokenStream& tokens) {
    Target result;
    const bool bracket = tokens.skip("(");
    do {
      if (!result.names.empty() && tokens.peek().kind != Token::Kind::name) break;
      result.names.push_back(tokens.expect_name());
    } while (tokens.skip(","));
    if (bracket) tokens.expect(")");
    if (!bracket && result.names.size() == 1 && tokens.skip(".")) result.attribute = tokens.expect_name();
    return result;
  }

  Statement set(TokenStream& tokens, int line) {
    Target assigned = target(tokens);
    if (tokens.skip("=")) {
      ExpressionPtr value = ExpressionParser(tokens, context_).parse_tuple();
      tokens.expect_end();
      return {line, Set{std::move(assigned), std::move(value)}};
    }
    tokens.expect_end();
    ++at_;
    Block body = block({"endset"});
    end_of_block();
    return {line, SetBlock{std::move(assigned), std::move(body)}};
  }

  Statement branch(TokenStream& tokens, int line) {
    If result;
    ExpressionPtr condition = ExpressionParser(tokens, context_).parse_tuple();
    tokens.expect_end();
    for (;;) {
      ++at_;
      result.branches.emplace_back(std::move(condition), block({"elif", "else", "endif"}));
      if (tag() != "elif") break;
      TokenStream next(segments_[at_].tokens, context_);
      next.next();
      condition = ExpressionParser(next, context_).parse_tuple();
      next.expect_end();
    }
    if (tag() == "else") {
      end_of_block();
      ++at_;
      result.otherwise = block({"endif"});
    }
    end_of_block();
    return {line, std::move(result)};
  }

  Statement loop(TokenStream& tokens, int line) {
    For result;
    result.target = target(tokens);
    if (!result.target.attribute.empty()) context_.refuse("a loop over an attribute is not supported");
    if (!tokens.skip_name("in")) tokens.unexpected("in");
    ExpressionParser parser(tokens, context_);
    result.items = parser.parse(false);
    if (tokens.skip_name("if")) result.condition = parser.parse();
    if (tokens.peek().is_name("recursive")) context_.refuse("recursive loops are not supported");
    tokens.expect_end();
    ++at_;
    ++loops_;
    result.body = block({"else", "endfor"});
    --loops_;
    if (tag() == "else") {
      end_of_block();
      ++at_;
      result.otherwise = block({"endfor"});
    }
    end_of_block();
    return {line, std::move(result)};
  }

  Statement macro(TokenStream& tokens, int line) {
    if (loops_ > 0 || inside_macro_)
      context_.refuse("a macro inside a loop or another macro is not supported");
    auto result = std::make_unique<Macro>();
    result->name = tokens.expect_name();
    tokens.expect("(");
    while (!tokens.skip(")")) {
      if (!result->parameters.empty()) tokens.expect(",");
      std::string name = tokens.expect_name();
      ExpressionPtr fallback = tokens.skip("=") ? ExpressionParser(tokens, context_).parse() : nullptr;
      if (fallback == nullptr && !result->parameters.empty() && result->parameters.back().second != nullptr)
        context_.refuse("parameter \"{}\" without a default behind one that has one", name);
      result->parameters.emplace_back(std::move(name), std::move(fallback));
    }
    tokens.expect_end();
    ++at_;
    inside_macro_ = true;
    result->body = block({"endmacro"});
    inside_macro_ = false;
    end_of_block();
    return {line, std::unique_ptr<const Macro>(std::move(result))};
  }

  /// Checks that the closing tag at hand, {% endif %} say, holds nothing more (a macro's may repeat its
  /// name).
  void end_of_block() {
    const std::vector<Token>& tokens = segments_[at_].tokens;
    TokenStream rest(tokens, context_);
    if (rest.next().text == "endmacro" && !rest.at_end()) rest.next();
    rest.expect_end();
  }

  Context& context_;
  std::vector<Segment> segments_;
  std::size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
  bool inside_macro_ = false;
};

}  // namespace

Block parse_template(const std::string& source, Context& context) {
  return Parser(source, context).run();
}

}  // namespace assay::jinja
