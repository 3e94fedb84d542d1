#include "assay/tokenizer/vocabulary.h"

#include <limits>

#include "assay/base/error.h"
#include "assay/base/quote.h"

namespace assay {

TokenId parse_token_id(const Json& json, std::string_view token, const std::string& origin) {
  if (!json.is_number_unsigned() || json.get<std::uint64_t>() > std::numeric_limits<TokenId>::max())
    fail("{}: token {}: id is {}, a whole number below 2^31 expected", origin, quote(token),
         printable(json.dump(-1, ' ', false, Json::error_handler_t::replace), 80));
  return json.get<TokenId>();
}

Vocabulary::Vocabulary(const Json& json, const std::string& origin) {
  if (!json.is_object()) fail("{}: the vocabulary is not an object of token -> id", origin);
  for (const auto& [token, id] : json.items()) ids_.emplace(token, parse_token_id(id, token, origin));
  const std::size_t limit = 4 * ids_.size() + 65536;
  for (const auto& [token, id] : ids_) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= limit)
      fail("{}: token {}: id {} is far beyond the {} tokens of the vocabulary", origin, quote(token), id,
           ids_.size());
    if (at >= spellings_.size()) spellings_.resize(at + 1, nullptr);
    if (spellings_[at] != nullptr)
      fail("{}: tokens {} and {} have the same id {}", origin, quote(*spellings_[at]), quote(token), id);
    spellings_[at] = &token;
  }
}

void Vocabulary::add(const std::string& token, TokenId id, const std::string& origin) {
  const auto at = static_cast<std::size_t>(id);
  if (at >= 4 * (ids_.size() + 1) + 65536)
    fail("{}: token {}: id {} is far beyond the {} tokens of the vocabulary", origin, quote(token), id,
         ids_.size());
  if (const auto known = find(token); known && *known != id)
    fail("{}: token {} has id {} here and {} in the vocabulary", origin, quote(token), id, *known);
  if (const std::string* other = spelling(id); other != nullptr && *other != token)
    fail("{}: tokens {} and {} have the same id {}", origin, quote(*other), quote(token), id);
  if (at >= spellings_.size()) spellings_.resize(at + 1, nullptr);
  spellings_[at] = &ids_.try_emplace(token, id).first->first;
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Vocabulary::spelling(TokenId id) const {
  return id < 0 || static_cast<std::size_t>(id) >= spellings_.size()
             ? nullptr
             : spellings_[static_cast<std::size_t>(id)];
}

}  // namespace assay
