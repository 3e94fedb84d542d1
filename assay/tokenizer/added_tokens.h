#pragma once
// Tokens that are found in the text before anything else is done to it, as Hugging Face's AddedVocabulary
// finds them: the leftmost match, the longest of those, then the token's own conditions. The search is that
// of Aho and Corasick (1975), from the end of the text to its beginning, so that what it finds at a place is
// all that begins there.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

struct AddedToken {
  TokenId id = 0;
  std::string content;  // never empty
  bool special = false;
  bool normalized = false;                       // looked for in the normalized text instead of the raw one
  bool single_word = false;                      // only where no word character touches it
  bool strip_left = false, strip_right = false;  // takes the white space beside it along
};

/// One added token, or the text between two of them.
struct TextPiece {
  std::string_view text;
  std::optional<TokenId> token;
};

class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  /// Cuts valid UTF-8 into pieces; pieces between tokens are never empty.
  std::vector<TextPiece> split(std::string_view text) const;

 private:
  static constexpr std::uint32_t kRoot = 0;
  static constexpr std::int32_t kNone = -1;

  struct Found {
    std::size_t at;
    std::int32_t token;  // index into tokens_
  };

  void grow_trie();
  void link_nodes();
  std::uint32_t child(std::uint32_t node, char byte) const;  // kRoot where there is none
  std::uint32_t step(std::uint32_t node, char byte) const;
  std::vector<Found> longest_everywhere(std::string_view text) const;  // from the last to the first

  std::vector<AddedToken> tokens_;
  // By node of the trie of reversed tokens, breadth first, so that the children of a node are neighbours.
  std::vector<std::uint32_t> first_child_{0};  // and one more entry behind the last node
  std::vector<char> byte_;
  std::vector<std::uint32_t> suffix_;  // the longest other node that spells the end of this one
  std::vector<std::int32_t> longest_;  // the longest token that ends the node's spelling, or kNone
};

}  // namespace assay
