#include "assay/tokenizer/added_tokens.h"

#include <algorithm>
#include <array>
#include <deque>
#include <numeric>

#include "assay/base/unicode.h"
#include "assay/base/utf8.h"

namespace assay {
namespace {

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

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  grow_trie();
  link_nodes();
}

void AddedTokenFinder::grow_trie() {
  const auto letter = [&](std::size_t token, std::size_t depth) {  // of the reversed token
    return *(tokens_[token].content.rbegin() + static_cast<std::ptrdiff_t>(depth));
  };
  const auto length = [&](std::size_t token) { return tokens_[token].content.size(); };
  std::vector<std::size_t> sorted(tokens_.size());
  std::iota(sorted.begin(), sorted.end(), std::size_t{0});
  std::ranges::stable_sort(sorted, [&](std::size_t a, std::size_t b) {
    const std::string &x = tokens_[a].content, &y = tokens_[b].content;
    return std::lexicographical_compare(x.rbegin(), x.rend(), y.rbegin(), y.rend());
  });
  struct Node {
    std::size_t begin, end, depth;  // the sorted tokens that begin with its spelling
  };
  std::deque<Node> open{{0, sorted.size(), 0}};
  first_child_ = {1};
  byte_ = {'\0'};
  for (; !open.empty(); open.pop_front()) {
    auto [begin, end, depth] = open.front();
    longest_.push_back(kNone);
    for (; begin < end && length(sorted[begin]) == depth; ++begin)  // of equal ones the last counts
      longest_.back() = static_cast<std::int32_t>(sorted[begin]);
    while (begin < end) {
      const char byte = letter(sorted[begin], depth);
      std::size_t behind = begin + 1;
      while (behind < end && letter(sorted[behind], depth) == byte) ++behind;
      open.push_back({begin, behind, depth + 1});
      byte_.push_back(byte);
      begin = behind;
    }
    first_child_.push_back(static_cast<std::uint32_t>(byte_.size()));
  }
}

void AddedTokenFinder::link_nodes() {
  suffix_.assign(byte_.size(), kRoot);
  for (std::uint32_t node = 0; node < byte_.size(); ++node)
    for (std::uint32_t below = first_child_[node]; below < first_child_[node + 1]; ++below) {
      if (node != kRoot) suffix_[below] = step(suffix_[node], byte_[below]);
      if (longest_[below] == kNone) longest_[below] = longest_[suffix_[below]];
    }
}

std::uint32_t AddedTokenFinder::child(std::uint32_t node, char byte) const {
  const auto begin = byte_.begin() + first_child_[node], end = byte_.begin() + first_child_[node + 1];
  const auto found = std::lower_bound(begin, end, byte);
  return found != end && *found == byte ? static_cast<std::uint32_t>(found - byte_.begin()) : kRoot;
}

/// The longest node that spells the end of this one and then the byte.
std::uint32_t AddedTokenFinder::step(std::uint32_t node, char byte) const {
  for (;; node = suffix_[node]) {
    const std::uint32_t next = child(node, byte);
    if (next != kRoot || node == kRoot) return next;
  }
}

std::vector<AddedTokenFinder::Found> AddedTokenFinder::longest_everywhere(std::string_view text) const {
  if (tokens_.empty()) return {};
  std::array<bool, 256> leaves_root{};
  for (std::uint32_t node = first_child_[kRoot]; node < first_child_[kRoot + 1]; ++node)
    leaves_root[static_cast<unsigned char>(byte_[node])] = true;
  std::vector<Found> found;
  std::uint32_t node = kRoot;
  for (std::size_t at = text.size(); at-- > 0;) {
    if (node == kRoot && !leaves_root[static_cast<unsigned char>(text[at])]) continue;
    node = step(node, text[at]);
    if (longest_[node] != kNone) found.push_back({at, longest_[node]});
  }
  return found;
}

std::vector<TextPiece> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TextPiece> pieces;
  std::size_t done = 0;  // everything before lies in a piece
  const auto add_text = [&](std::size_t end) {
    if (done < end) pieces.push_back({text.substr(done, end - done), std::nullopt});
  };
  std::size_t searched = 0;
  const std::vector<Found> everywhere = longest_everywhere(text);
  for (auto found = everywhere.rbegin(); found != everywhere.rend(); ++found) {
    if (found->at < searched) continue;
    const AddedToken& token = tokens_[static_cast<std::size_t>(found->token)];
    std::size_t begin = found->at;
    std::size_t end = begin + token.content.size();
    // The search goes on behind the match even where a condition rejects it or white space is taken along.
    searched = end;
    if (token.single_word && (word_ends_at(text, begin) || word_starts_at(text, end))) continue;
    if (token.strip_left) begin = skip_space_left(text, begin, done);
    // White space that the token before took along is not walked through again.
    if (token.strip_right) end = skip_space_right(text, std::max(done, end));
    add_text(begin);
    pieces.push_back({{}, token.id});
    done = std::max(done, end);
  }
  add_text(text.size());
  return pieces;
}

}  // namespace assay
