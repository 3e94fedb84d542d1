#include "assay/jinja/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "assay/base/unicode.h"
#include "assay/base/utf8.h"

namespace assay::jinja {
namespace {

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
char to_upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}
char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// The character that the single-letter escape stands for, or 0.
char simple_escape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
      return c;
    default:
      return 0;
  }
}

std::size_t hex_digits(char c) {
  return c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
}

char32_t parse_code(std::string_view digits, std::size_t expected, int base, const Context& context) {
  std::uint32_t code = 0;
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
  const bool whole =
      problem == std::errc() && end == digits.data() + digits.size() && digits.size() == expected;
  if (!whole || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
    context.refuse("a string escape \"{}\" is not a character", digits);
  return code;
}

}  // namespace

bool is_python_space(char32_t code) {
  return is_white_space(code) || (code >= 0x1C && code <= 0x1F);
}

std::string_view strip_left(std::string_view text) {
  while (!text.empty()) {
    const Utf8Character first = decode_utf8(text, 0);
    if (first.length == 0 || !is_python_space(first.code)) break;
    text.remove_prefix(first.length);
  }
  return text;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    std::size_t at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u) --at;
    const Utf8Character last = decode_utf8(text, at);
    if (at + last.length != text.size() || !is_python_space(last.code)) break;
    text.remove_suffix(last.length);
  }
  return text;
}

std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); at += result.back().size())
    result.push_back(text.substr(at, std::max<std::size_t>(decode_utf8(text, at).length, 1)));
  return result;
}

std::string unescape(std::string_view literal, const Context& context) {
  std::string result;
  for (std::size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\') {
      result += literal[at++];
      continue;
    }
    const char kind = literal[at + 1];  // the lexer lets no backslash end a string
    at += 2;
    if (const char simple = simple_escape(kind); simple != 0) {
      result += simple;
    } else if (const std::size_t digits = hex_digits(kind); digits != 0) {
      const std::string_view code = literal.substr(at, digits);
      append_utf8(result, parse_code(code, digits, 16, context));
      at += code.size();
    } else if (kind >= '0' && kind <= '7') {
      std::size_t end = at;
      while (end < literal.size() && end < at + 2 && literal[end] >= '0' && literal[end] <= '7') ++end;
      append_utf8(result, parse_code(literal.substr(at - 1, end - at + 1), end - at + 1, 8, context));
      at = end;
    } else if (kind == 'N') {
      context.refuse("string escapes \\N{{...}} are not supported");
    } else if (kind != '\n') {  // a line break behind a backslash goes
      result += '\\';
      result += kind;
    }
  }
  return result;
}

std::string json_quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    static constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t";
    static constexpr std::string_view kLetters = "\"\\bfnrt";
    if (const std::size_t at = kEscaped.find(c); at != std::string_view::npos) {
      result += '\\';
      result += kLetters[at];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string change_case(std::string_view text, LetterCase letter_case, const Context& context) {
  std::string result;
  bool inside_word = false;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80)
      context.refuse("changing the case of text outside ASCII is not supported");
    const bool upper = letter_case == LetterCase::upper ||
                       (letter_case == LetterCase::title && !inside_word) ||
                       (letter_case == LetterCase::capitalized && result.empty());
    result += upper ? to_upper(c) : to_lower(c);
    inside_word = is_letter(c);
  }
  return result;
}

}  // namespace assay::jinja
