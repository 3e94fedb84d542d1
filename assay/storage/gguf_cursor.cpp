#include "assay/storage/gguf_cursor.h"

#include <bit>

namespace assay {

std::string_view GgufCursor::string(std::string_view what) {
  const std::size_t start = position_;
  const Bytes bytes = take(number<std::uint64_t>(what), what);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!is_utf8(text)) fail("{}: byte {}: {} is not valid UTF-8", path_, start, what);
  return text;
}

bool is_utf8(std::string_view text) {
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};  // by length in bytes
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int ones = std::countl_one(lead);
    const std::size_t length = ones == 0 ? 1 : static_cast<std::size_t>(ones);
    if (ones == 1 || length > 4 || length > text.size() - i) return false;
    std::uint32_t code_point = ones == 0 ? lead : lead & (0x7Fu >> ones);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0u) != 0x80u) return false;
      code_point = code_point << 6 | (next & 0x3Fu);
    }
    const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
    if (code_point < kSmallest[length] || code_point > 0x10FFFF || surrogate) return false;
    i += length;
  }
  return true;
}

}  // namespace assay
