#pragma once
// Cuts a template into text and tags, and tags into tokens, with the white-space rules that transformers
// sets: trim_blocks (a line break behind a block or comment goes) and lstrip_blocks (blanks before one at the
// start of a line go); "-" beside a delimiter takes all white space on that side, "+" switches the two rules
// off.
#include <string>
#include <string_view>
#include <vector>

#include "assay/jinja/context.h"

namespace assay::jinja {

struct Token {
  enum class Kind { name, integer, real, string, symbol };  // symbol: an operator or a bracket
  Kind kind = Kind::symbol;
  std::string text;  // of strings: the value, escapes resolved
  int line = 1;

  bool is(std::string_view symbol) const { return kind == Kind::symbol && text == symbol; }
  bool is_name(std::string_view name) const { return kind == Kind::name && text == name; }
};

struct Segment {
  enum class Kind { text, print, block };  // text between tags, {{ ... }}, {% ... %}
  Kind kind = Kind::text;
  int line = 1;
  std::string text;           // of Kind::text
  std::vector<Token> tokens;  // of the tags
};

std::vector<Segment> tokenize_template(const std::string& source, Context& context);

}  // namespace assay::jinja
