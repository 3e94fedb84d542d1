#pragma once
// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#include <cstddef>
#include <string>
#include <string_view>

namespace assay {

struct Utf8Character {
  char32_t code = 0;
  std::size_t length = 0;  // bytes; 0 where the text is not valid UTF-8
};

/// The character that starts at text[at]; at < text.size().
Utf8Character decode_utf8(std::string_view text, std::size_t at);

/// Length of the longest prefix of text that is valid UTF-8.
std::size_t valid_utf8_prefix(std::string_view text);

/// Appends a code point below U+110000 that is not a surrogate.
void append_utf8(std::string& text, char32_t code);

}  // namespace assay
