#include "assay/base/json_text.h"

#include <fmt/format.h>

namespace assay {
namespace {

/// The code point of the two or three bytes at `at`, when a terminal would obey it; else 0. The text is valid
/// UTF-8.
unsigned obeyed_character(const std::string& text, std::size_t at, std::size_t* length) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  if (byte(0) == 0x7F) {
    *length = 1;
    return 0x7F;
  }
  if (byte(0) == 0xC2 && byte(1) < 0xA0) {
    *length = 2;
    return byte(1);
  }
  if (byte(0) != 0xE2 || (byte(1) != 0x80 && byte(1) != 0x81)) return 0;
  *length = 3;
  const unsigned code = 0x2000u + ((byte(1) & 0x3Fu) << 6) + (byte(2) & 0x3Fu);
  const bool marks = code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E);
  return marks || (code >= 0x2066 && code <= 0x2069) ? code : 0;
}

/// Such characters occur inside strings only, where JSON may spell them as \uNNNN.
std::string without_controls(const std::string& text) {
  if (text.find_first_of("\x7F\xC2\xE2") == std::string::npos) return text;
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 1;
    if (const unsigned code = obeyed_character(text, at, &length))
      result += fmt::format("\\u{:04x}", code);
    else
      result += text[at], length = 1;
    at += length;
  }
  return result;
}

template <class AnyJson>
std::string dump(const AnyJson& json, int indent) {
  return without_controls(json.dump(indent, ' ', false, AnyJson::error_handler_t::replace));
}

}  // namespace

std::string json_text(const Json& json, int indent) {
  return dump(json, indent);
}

std::string json_text(const OrderedJson& json, int indent) {
  return dump(json, indent);
}

}  // namespace assay
