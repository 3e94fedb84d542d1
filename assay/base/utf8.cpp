#include "assay/base/utf8.h"

#include <utf8proc.h>

#include <array>
#include <cassert>

namespace assay {

Utf8Character decode_utf8(std::string_view text, std::size_t at) {
  assert(at < text.size());
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1};
  utf8proc_int32_t code = 0;
  const utf8proc_ssize_t length =
      utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                       static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  if (length <= 0) return {};
  return {static_cast<char32_t>(code), static_cast<std::size_t>(length)};
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t length = decode_utf8(text, at).length;
    if (length == 0) break;
    at += length;
  }
  return at;
}

void append_utf8(std::string& text, char32_t code) {
  assert(utf8proc_codepoint_valid(static_cast<utf8proc_int32_t>(code)));
  std::array<utf8proc_uint8_t, 4> bytes{};
  const utf8proc_ssize_t length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
}

}  // namespace assay
