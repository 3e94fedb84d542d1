#include "assay/tokenizer/added_tokens.h"

#include <algorithm>
#include <cassert>

#include "assay/tokenizer/unicode.h"
#include "assay/tokenizer/utf8.h"

namespace assay {
namespace {

std::uint64_t edge(std::uint32_t node, char byte) {
  return (std::uint64_t{node} << 8) | static_cast<unsigned char>(byte);
}

/// Start of the character that ends at text[end]; end > 0, the text valid.
std::size_t character_before(std::string_view text, std::size_t end) {
  std::size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0u) == 0x80u) --at;
  return at;
}

bool word_ends_at(std::string_view text, std::size_t end) {
  return end > 0 && is_word_character(decode_utf8(text, character_before(text, end)).code);
}

bool word_starts_at(std::string_view text, std::size_t at) {
  return at < text.size() && is_word_character(decode_utf8(text, at).code);
}

std::size_t skip_space_left(std::string_view text, std::size_t end, std::size_t limit) {
  while (end > limit) {
    const std::size_t at = character_before(text, end);
    if (!is_white_space(decode_utf8(text, at).code)) break;
    end = at;
  }
  return end;
}

std::size_t skip_space_right(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Character character = decode_utf8(text, at);
    if (!is_white_space(character.code)) break;
    at += character.length;
  }
  return at;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), ends_(1, kNone) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    assert(!content.empty());
    starts_[static_cast<unsigned char>(content.front())] = true;
    std::uint32_t node = kRoot;
    for (const char byte : content) {
      const auto [found, added] =
          edges_.try_emplace(edge(node, byte), static_cast<std::uint32_t>(ends_.size()));
      if (added) ends_.push_back(kNone);
      node = found->second;
    }
    ends_[node] = static_cast<std::int32_t>(i);
  }
}

std::int32_t AddedTokenFinder::longest_at(std::string_view text, std::size_t at) const {
  std::int32_t longest = kNone;
  std::uint32_t node = kRoot;
  for (; at < text.size(); ++at) {
    const auto found = edges_.find(edge(node, text[at]));
    if (found == edges_.end()) break;
    node = found->second;
    if (ends_[node] != kNone) longest = ends_[node];
  }
  return longest;
}

std::vector<TextPiece> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TextPiece> pieces;
  std::size_t done = 0;  // everything before lies in a piece
  const auto add_text = [&](std::size_t end) {
    if (done < end) pieces.push_back({text.substr(done, end - done), std::nullopt});
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::int32_t found = starts_[static_cast<unsigned char>(text[at])] ? longest_at(text, at) : kNone;
    if (found == kNone) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(found)];
    std::size_t begin = at;
    std::size_t end = at + token.content.size();
    // The search goes on behind the match even where a condition rejects it or white space is taken along.
    at = end;
    if (token.single_word && (word_ends_at(text, begin) || word_starts_at(text, end))) continue;
    if (token.strip_left) begin = skip_space_left(text, begin, done);
    if (token.strip_right) end = skip_space_right(text, end);
    add_text(begin);
    pieces.push_back({{}, token.id});
    done = std::max(done, end);
  }
  add_text(text.size());
  return pieces;
}

}  // namespace assay
