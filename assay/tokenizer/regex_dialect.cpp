#include "assay/tokenizer/regex_dialect.h"

#include <array>
#include <string_view>
#include <vector>

#include "assay/base/error.h"
#include "assay/base/quote.h"

namespace assay {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& origin) : pattern_(pattern), origin_(origin) {}

  std::string run() {
    while (at_ < pattern_.size()) item();
    return std::move(result_);
  }

 private:
  [[noreturn]] void refuse(std::size_t begin, const char* reason) const {
    fail("{}: split pattern {}: {} at byte {} {}", origin_, quote(pattern_),
         quote(pattern_.substr(begin, 12)), begin, reason);
  }

  bool looking_at(std::string_view text) const {
    return std::string_view(pattern_).substr(at_).starts_with(text);
  }
  void copy(std::size_t count) {
    result_.append(pattern_, at_, count);
    at_ += count;
  }
  bool ignores_case() const { return !ignore_case_.empty() && ignore_case_.back(); }

  void item() {
    switch (pattern_[at_]) {
      case '\\':
        return escape();
      case '[':
        return character_class();
      case '(':
        return open_group();
      case ')':
        if (!ignore_case_.empty()) ignore_case_.pop_back();  // PCRE2 reports an unmatched one
        return copy(1);
      case '{':
        return interval();
      case '^':
      case '$':
        refuse(at_, "is an anchor, whose meaning differs between regex engines");
      default:
        return literal();
    }
  }

  void literal() {
    if (ignores_case() && static_cast<unsigned char>(pattern_[at_]) >= 0x80)
      refuse(at_, "ignores case outside ASCII, which regex engines do differently");
    copy(1);
  }

  void open_group() {
    static constexpr std::array<std::string_view, 7> kOpenings = {"(?:",  "(?i:", "(?=", "(?!",
                                                                  "(?<=", "(?<!", "(?>"};
    const bool outer = ignores_case();
    for (const std::string_view opening : kOpenings)
      if (looking_at(opening)) {
        ignore_case_.push_back(outer || opening == "(?i:");
        return copy(opening.size());
      }
    if (looking_at("(?") || looking_at("(*")) refuse(at_, "is a group that this program does not support");
    ignore_case_.push_back(outer);
    copy(1);
  }

  /// {n}, {n,}, {n,m}. What follows may be a lazy mark, but "{n,m}+" is possessive only in PCRE2.
  void interval() {
    const std::size_t begin = at_;
    std::size_t end = begin + 1;
    while (end < pattern_.size() && is_digit(pattern_[end])) ++end;
    const bool has_minimum = end > begin + 1;
    if (end < pattern_.size() && pattern_[end] == ',') ++end;
    while (end < pattern_.size() && is_digit(pattern_[end])) ++end;
    if (!has_minimum || end == pattern_.size() || pattern_[end] != '}')
      refuse(begin, "is not a quantifier of the form {n}, {n,} or {n,m}");
    copy(end + 1 - begin);
    if (looking_at("+") || looking_at("?"))
      refuse(begin, "has a mark behind it that regex engines read differently");
  }

  void escape() {
    const std::size_t begin = at_;
    if (begin + 1 == pattern_.size()) refuse(begin, "ends the pattern");
    const char kind = pattern_[begin + 1];
    switch (kind) {
      case 's':
      case 'S':
        result_ += kind == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
        at_ += 2;
        return;
      case 'd':
      case 'D':
      case 'r':
      case 'n':
      case 't':
      case 'f':
      case 'v':
        if (kind == 'v') refuse(begin, "is one character to some regex engines and several to others");
        return copy(2);
      case 'p':
      case 'P':
        return property();
      case 'x':
        return code_point();
      default:
        if (is_ascii_letter(kind) || is_digit(kind) || static_cast<unsigned char>(kind) >= 0x80)
          refuse(begin, "is an escape that this program does not support");
        return copy(2);
    }
  }

  void property() {
    const std::size_t begin = at_;
    const std::size_t close = pattern_.find('}', begin);
    if (begin + 2 >= pattern_.size() || pattern_[begin + 2] != '{' || close == std::string::npos)
      refuse(begin, "is not of the form \\p{Name}");
    const std::string_view name = std::string_view(pattern_).substr(begin + 3, close - begin - 3);
    if (ignores_case() && (name == "Lu" || name == "Ll" || name == "Lt"))
      refuse(begin, "asks for the case of a letter while case is ignored");
    copy(close + 1 - begin);
  }

  void code_point() {
    const std::size_t begin = at_;
    std::size_t end = begin + 2;
    if (end < pattern_.size() && pattern_[end] == '{') {
      end = pattern_.find('}', end);
      if (end == std::string::npos) refuse(begin, "is not of the form \\x{HEX}");
      return copy(end + 1 - begin);
    }
    if (end + 2 > pattern_.size() || !is_hex_digit(pattern_[end]) || !is_hex_digit(pattern_[end + 1]) ||
        pattern_[end] >= '8')  // Oniguruma reads \x80 and above as bytes, PCRE2 as code points
      refuse(begin, "is not \\x followed by two digits below 80");
    copy(4);
  }

  void character_class() {
    const std::size_t begin = at_;
    copy(1);
    if (looking_at("^")) copy(1);
    if (looking_at("]")) refuse(begin, "is a class that begins with ], which regex engines read differently");
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      if (pattern_[at_] == '[') refuse(at_, "is a bracket inside a class; write \\[");
      if (looking_at("&&")) refuse(at_, "is a class intersection");
      if (pattern_[at_] == '\\')
        escape();
      else
        literal();
    }
    if (at_ == pattern_.size()) refuse(begin, "is a class that does not end");
    copy(1);
  }

  const std::string& pattern_;
  const std::string& origin_;
  std::string result_;
  std::size_t at_ = 0;
  std::vector<bool> ignore_case_;  // one entry for each open group
};

}  // namespace

std::string translate_oniguruma(const std::string& pattern, const std::string& origin) {
  return Translator(pattern, origin).run();
}

}  // namespace assay
