#pragma once
// Tokens that are found in the text before anything else is done to it, as Hugging Face's AddedVocabulary
// finds them: the leftmost match, the longest of those, then the token's own conditions.
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
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

  std::int32_t longest_at(std::string_view text, std::size_t at) const;  // index into tokens_, or kNone

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // (node, byte) -> node
  std::vector<std::int32_t> ends_;                          // by node: the token that ends there
  std::array<bool, 256> starts_{};
};

}  // namespace assay
