#include "assay/base/printable.h"

#include <fmt/format.h>
#include <utf8proc.h>

namespace assay {
namespace {

bool is_joiner(utf8proc_int32_t code) {  // parts of words and of emoji, without effect beside them
  return code == 0x200C || code == 0x200D;
}

bool is_harmless(utf8proc_int32_t code) {
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_CF:
      return is_joiner(code);
    default:
      return true;
  }
}

std::string escaped(utf8proc_int32_t code) {
  if (code == '\n') return "\\n";
  if (code == '\r') return "\\r";
  if (code == '\t') return "\\t";
  return code < 0x80 ? fmt::format("\\x{:02x}", code) : fmt::format("\\u{{{:04x}}}", code);
}

std::string made_printable(std::string_view text, bool with_lines) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    utf8proc_int32_t code = 0;
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
    const utf8proc_ssize_t length =
        utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (length <= 0) {
      result += fmt::format("\\x{:02x}", *bytes);
      ++at;
      continue;
    }
    if (is_harmless(code) || (with_lines && (code == '\n' || code == '\t')))
      result += text.substr(at, static_cast<std::size_t>(length));
    else
      result += escaped(code);
    at += static_cast<std::size_t>(length);
  }
  return result;
}

}  // namespace

std::string printable(std::string_view text) {
  return made_printable(text, false);
}

std::string printable_lines(std::string_view text) {
  return made_printable(text, true);
}

}  // namespace assay
