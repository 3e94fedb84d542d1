#include "assay/tokenizer/byte_alphabet.h"

#include <array>

#include "assay/base/utf8.h"

namespace assay {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Alphabet {
  std::array<std::string, 256> spelling;
  std::array<int, 256 + 68> byte_of{};  // by code point; -1 where the code point spells nothing

  Alphabet() {
    byte_of.fill(-1);
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const int code = stands_for_itself(byte) ? byte : next++;
      append_utf8(spelling[static_cast<std::size_t>(byte)], static_cast<char32_t>(code));
      byte_of[static_cast<std::size_t>(code)] = byte;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

const std::string& spell_byte(unsigned char byte) {
  return alphabet().spelling[byte];
}

std::optional<std::string> unspell_bytes(std::string_view spelling) {
  const auto& byte_of = alphabet().byte_of;
  std::string bytes;
  for (std::size_t at = 0; at < spelling.size();) {
    const Utf8Character character = decode_utf8(spelling, at);
    if (character.length == 0 || character.code >= byte_of.size() || byte_of[character.code] < 0)
      return std::nullopt;
    bytes += static_cast<char>(byte_of[character.code]);
    at += character.length;
  }
  return bytes;
}

}  // namespace assay
