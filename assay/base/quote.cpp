#include "assay/base/quote.h"

#include <fmt/format.h>

#include "assay/base/utf8.h"

namespace assay {

std::string printable(std::string_view text, std::size_t longest) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    if (result.size() >= longest) return result + "...";
    const Utf8Character character = decode_utf8(text, at);
    if (character.length == 0 || character.code < 0x20 || character.code == 0x7F) {
      result += fmt::format("\\x{:02X}", static_cast<unsigned char>(text[at++]));
    } else {
      result += text.substr(at, character.length);
      at += character.length;
    }
  }
  return result;
}

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  return '"' + printable(text, kLongest) + '"';
}

}  // namespace assay
