#pragma once
// Token spellings and their ids. Ids may have holes, but not so many that a file could ask for much memory.
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "assay/base/json.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// Lets an unordered_map of strings be asked with a string_view.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
template <class Value>
using StringMap = std::unordered_map<std::string, Value, StringHash, std::equal_to<>>;

class Vocabulary {
 public:
  /// `json`: an object of token -> id. Throws Error for ids that repeat, are negative or lie far apart.
  Vocabulary(const Json& json, const std::string& origin);
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;
  Vocabulary(const Vocabulary&) = delete;  // spellings_ points into ids_
  Vocabulary& operator=(const Vocabulary&) = delete;
  ~Vocabulary() = default;

  /// Adds a token; the same token with the same id again changes nothing. Throws Error on a contradiction.
  void add(const std::string& token, TokenId id, const std::string& origin);

  std::optional<TokenId> find(std::string_view token) const;
  /// The token's spelling, or null for an id that is out of range or a hole.
  const std::string* spelling(TokenId id) const;
  /// Highest id + 1.
  std::size_t size() const { return spellings_.size(); }

 private:
  StringMap<TokenId> ids_;
  std::vector<const std::string*> spellings_;  // into the keys of ids_, which do not move; null for holes
};

/// A JSON number as an id. Throws Error naming the token.
TokenId parse_token_id(const Json& json, std::string_view token, const std::string& origin);

}  // namespace assay
