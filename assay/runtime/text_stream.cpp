#include "assay/runtime/text_stream.h"

#include <algorithm>
#include <array>
#include <utility>

namespace assay {

namespace {

/// Bytes at the end of `text` that may be the start of a longer UTF-8 character.
std::size_t incomplete_tail(std::string_view text) {
  constexpr std::size_t kLongestTail = 3;  // a character has four bytes at most
  for (std::size_t back = 1; back <= std::min(kLongestTail, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // a continuation byte: what leads it stands before
    const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return length > back ? back : 0;
  }
  return 0;
}

}  // namespace

std::string TextStream::add(TokenId id) {
  std::string text;
  if (!tokenizer_.is_special(id)) {
    if (previous_) {
      const std::array pair = {*previous_, id};
      text = tokenizer_.decode(pair).substr(tokenizer_.decode({pair.data(), 1}).size());
    } else {
      text = tokenizer_.decode({&id, 1});
    }
  }
  previous_ = id;
  held_ += text;
  const std::size_t whole = held_.size() - incomplete_tail(held_);
  std::string ready = held_.substr(0, whole);
  held_.erase(0, whole);
  return ready;
}

std::string TextStream::finish() {
  return std::exchange(held_, {});
}

}  // namespace assay
