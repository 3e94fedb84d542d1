#include "assay/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "assay/base/utf8.h"
#include "assay/jinja/text.h"

namespace assay::jinja {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}
bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/// Jinja reads every kind of line end as "\n", and drops one at the very end.
std::string normalize_lines(const std::string& source) {
  std::string result;
  result.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!pair) result += source[i] == '\r' ? '\n' : source[i];
  }
  if (result.ends_with('\n')) result.pop_back();
  return result;
}

class Lexer {
 public:
  Lexer(const std::string& source, Context& context) : source_(normalize_lines(source)), context_(context) {}

  std::vector<Segment> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = find_tag();
      const char kind = tag < source_.size() ? source_[tag + 1] : '\0';
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      add_text(tag, kind, sign);
      if (kind == '\0') break;
      advance(tag + 2 + (sign == '-' || sign == '+' ? 1u : 0u));
      if (kind == '#')
        skip_comment();
      else
        read_tag(kind == '{');
    }
    return std::move(segments_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view text) const { return rest().starts_with(text); }

  void advance(std::size_t to) {
    context_.line += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                                 source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  std::size_t find_tag() const {
    for (std::size_t at = source_.find('{', at_); at != std::string::npos; at = source_.find('{', at + 1))
      if (at + 1 < source_.size() &&
          (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#'))
        return at;
    return source_.size();
  }

  void add_text(std::size_t end, char tag, char sign) {
    std::string text = source_.substr(at_, end - at_);
    if (tag != '\0' && sign == '-') {
      text = std::string(strip_right(text));
    } else if ((tag == '%' || tag == '#') && sign != '+') {
      const std::size_t line_start = text.rfind('\n') + 1;  // 0 where there is no line break
      if (line_start > 0 || at_line_start_)
        if (strip_left(std::string_view(text).substr(line_start)).empty()) text.resize(line_start);
    }
    if (!text.empty()) segments_.push_back({Segment::Kind::text, context_.line, std::move(text), {}});
    advance(end);
  }

  /// Ends a tag whose end delimiter, `length` bytes, lies at at_.
  void close(std::size_t length, bool strip, bool trim) {
    advance(at_ + length);
    std::size_t end = at_;
    if (strip)
      end = source_.size() - strip_left(rest()).size();
    else if (trim && looking_at("\n"))
      ++end;
    at_line_start_ = end > at_ && source_[end - 1] == '\n';
    advance(end);
  }

  void skip_comment() {
    const std::size_t end = source_.find("#}", at_);
    if (end == std::string::npos) context_.refuse("a comment does not end");
    // The sign belongs to the delimiter even where the comment is empty otherwise.
    const char sign = end > at_ ? source_[end - 1] : '\0';
    advance(end);
    close(2, sign == '-', sign != '+');
  }

  void read_tag(bool print) {
    const std::string_view delimiter = print ? "}}" : "%}";
    Segment segment{print ? Segment::Kind::print : Segment::Kind::block, context_.line, {}, {}};
    int brackets = 0;  // inside brackets "}}" ends two of them, not the tag
    for (;;) {
      while (at_ < source_.size() && is_blank(source_[at_])) advance(at_ + 1);
      if (at_ == source_.size()) {
        context_.line = segment.line;
        context_.refuse("a tag does not end ({} expected)", delimiter);
      }
      if (brackets == 0) {
        const bool sign =
            (looking_at("-") || (!print && looking_at("+"))) && rest().substr(1).starts_with(delimiter);
        if (sign || looking_at(delimiter)) {
          const char mark = sign ? source_[at_] : '\0';
          segments_.push_back(std::move(segment));
          return close(sign ? 3 : 2, mark == '-', !print && mark != '+');
        }
      }
      segment.tokens.push_back(token());
      const Token& last = segment.tokens.back();
      if (last.is("(") || last.is("[") || last.is("{")) ++brackets;
      if (last.is(")") || last.is("]") || last.is("}")) --brackets;
      if (brackets < 0) context_.refuse("\"{}\" closes nothing", last.text);
    }
  }

  Token token() {
    const char first = source_[at_];
    if (is_name_start(first)) return take(Token::Kind::name, at_ + run_length(is_name_part));
    if (is_digit(first)) return number();
    if (first == '\'' || first == '"') return string();
    static constexpr std::array<std::string_view, 24> kSymbols = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~",
        "(",  ")",  "[",  "]",  "{",  "}",  ">", "<", "=", ".", ",", ":"};
    for (const std::string_view symbol : kSymbols)
      if (looking_at(symbol)) return take(Token::Kind::symbol, at_ + symbol.size());
    if (first == '|') return take(Token::Kind::symbol, at_ + 1);
    const std::size_t length = std::max<std::size_t>(decode_utf8(source_, at_).length, 1);
    context_.refuse("unexpected \"{}\"", source_.substr(at_, length));
  }

  template <class Predicate>
  std::size_t run_length(Predicate predicate) const {
    const std::string_view text = rest();
    return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), predicate) - text.begin());
  }

  Token take(Token::Kind kind, std::size_t end) {
    Token token{kind, source_.substr(at_, end - at_), context_.line};
    advance(end);
    return token;
  }

  Token number() {
    std::size_t end = at_ + run_length(is_digit);
    const bool fraction = end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1]);
    if (fraction)
      for (++end; end < source_.size() && is_digit(source_[end]);) ++end;
    if (end < source_.size() && is_name_part(source_[end]))
      context_.refuse("\"{}\" is not a number of the supported kinds", source_.substr(at_, end + 1 - at_));
    return take(fraction ? Token::Kind::real : Token::Kind::integer, end);
  }

  Token string() {
    const char quote = source_[at_];
    std::size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) context_.refuse("a string does not end");
    Token token = take(Token::Kind::string, end + 1);
    token.text = unescape(std::string_view(token.text).substr(1, token.text.size() - 2), context_);
    return token;
  }

  const std::string source_;
  Context& context_;
  std::size_t at_ = 0;
  bool at_line_start_ = true;
  std::vector<Segment> segments_;
};

}  // namespace

std::vector<Segment> tokenize_template(const std::string& source, Context& context) {
  return Lexer(source, context).run();
}

}  // namespace assay::jinja
