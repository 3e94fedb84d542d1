#include "assay/tokenizer/bpe_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/base/utf8.h"
#include "assay/tokenizer/byte_alphabet.h"

namespace assay {
namespace {

constexpr std::string_view kSpaceMark = "\u2581";  // how the characters alphabet writes a space

std::string byte_token(unsigned char byte) {
  return fmt::format("<0x{:02X}>", byte);
}

std::vector<AddedToken> choose_added(const BpeDefinition& definition, bool normalized) {
  std::vector<AddedToken> chosen;
  std::size_t bytes = 0;
  for (const AddedToken& token : definition.added) {
    if (token.normalized != normalized) continue;
    chosen.push_back(token);
    bytes += token.content.size();
  }
  if (!normalized) return chosen;
  TextBudget budget(bytes, definition.origin);
  for (AddedToken& token : chosen) {
    std::string content = definition.normalizer.apply(token.content, budget);
    if (content.empty())
      fail("{}: nothing is left of added token {} by normalization", definition.origin, quote(token.content));
    token.content = std::move(content);
  }
  return chosen;
}

/// Where the next space mark behind something else lies, or the end.
std::size_t next_word(std::string_view text, std::size_t at) {
  while (text.substr(at).starts_with(kSpaceMark)) at += kSpaceMark.size();
  return std::min(text.find(kSpaceMark, at), text.size());
}

std::string from_space_marks(std::string_view spelling) {
  std::string text;
  for (std::size_t at = 0; at < spelling.size();) {
    const bool space = spelling.substr(at).starts_with(kSpaceMark);
    text += space ? ' ' : spelling[at];
    at += space ? kSpaceMark.size() : 1;
  }
  return text;
}

}  // namespace

/// Ids of the words already met in one text. Long words are rare and not kept.
class BpeTokenizer::WordCache {
 public:
  explicit WordCache(const BpeTokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void append(std::string_view word, std::vector<TokenId>& ids) {
    if (word.size() > kLongest || known_.size() >= kMostWords) {
      const std::vector<TokenId> encoded = tokenizer_.encode_word(word);
      ids.insert(ids.end(), encoded.begin(), encoded.end());
      return;
    }
    auto found = known_.find(word);
    if (found == known_.end()) found = known_.emplace(word, tokenizer_.encode_word(word)).first;
    ids.insert(ids.end(), found->second.begin(), found->second.end());
  }

 private:
  static constexpr std::size_t kLongest = 64, kMostWords = 1u << 18;
  const BpeTokenizer& tokenizer_;
  StringMap<std::vector<TokenId>> known_;
};

BpeTokenizer::BpeTokenizer(BpeDefinition definition)
    : definition_(std::move(definition)),
      merges_(definition_.merges.size()),
      raw_finder_(choose_added(definition_, false)),
      normalized_finder_(choose_added(definition_, true)) {
  read_model();
  read_merges();
  read_added();
}

/// Everything that only the model's own vocabulary decides; added tokens are not yet part of it.
void BpeTokenizer::read_model() {
  const Vocabulary& vocabulary = definition_.vocabulary;
  const bool by_bytes = definition_.alphabet == BpeAlphabet::bytes;
  decoded_.resize(vocabulary.size());
  for (std::size_t id = 0; id < decoded_.size(); ++id) {
    const std::string* spelling = vocabulary.spelling(static_cast<TokenId>(id));
    if (spelling == nullptr) continue;
    decoded_[id] = by_bytes ? unspell_bytes(*spelling).value_or(*spelling) : from_space_marks(*spelling);
    if (definition_.ignore_merges) whole_words_.emplace(decoded_[id], static_cast<TokenId>(id));
  }
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    const auto value = static_cast<unsigned char>(byte);
    std::optional<TokenId> id;
    if (by_bytes) id = vocabulary.find(spell_byte(value));
    if (!by_bytes && definition_.byte_fallback) id = vocabulary.find(byte_token(value));
    byte_ids_[byte] = id.value_or(kNone);
    if (id) decoded_[static_cast<std::size_t>(*id)] = std::string(1, static_cast<char>(value));
  }
  if (definition_.unknown) {
    const auto id = vocabulary.find(*definition_.unknown);
    if (!id)
      fail("{}: unk_token {} is not in the vocabulary", definition_.origin, quote(*definition_.unknown));
    unknown_id_ = *id;
  }
}

void BpeTokenizer::read_added() {
  Vocabulary& vocabulary = definition_.vocabulary;
  for (const AddedToken& token : definition_.added)
    vocabulary.add(token.content, token.id, definition_.origin);
  decoded_.resize(vocabulary.size());
  special_.resize(vocabulary.size());
  for (const AddedToken& token : definition_.added) {
    decoded_[static_cast<std::size_t>(token.id)] = token.content;  // as written, not in the model's spelling
    special_[static_cast<std::size_t>(token.id)] = token.special;
  }
}

void BpeTokenizer::read_merges() {
  const Vocabulary& vocabulary = definition_.vocabulary;
  const auto id_of = [&](const std::string& token, std::size_t rank) {
    const auto id = vocabulary.find(token);
    if (!id) fail("{}: merge {}: token {} is not in the vocabulary", definition_.origin, rank, quote(token));
    return *id;
  };
  words_begin_at_spaces_ = definition_.alphabet == BpeAlphabet::characters && vocabulary.find(kSpaceMark);
  std::size_t rank = 0;
  for (const auto& [left, right] : definition_.merges) {
    const std::string merged = left + right;
    merges_.add(id_of(left, rank), id_of(right, rank), id_of(merged, rank));
    words_begin_at_spaces_ = words_begin_at_spaces_ && next_word(merged, 0) == merged.size();
    ++rank;
  }
  definition_.merges = {};  // large, and now in merges_
}

std::vector<TokenId> BpeTokenizer::encode(std::string_view text) const {
  std::vector<TokenId> ids;
  WordCache cache(*this);
  TextBudget budget(text.size(), definition_.origin);
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    if (valid > 0)
      encode_valid(text.substr(0, valid), budget, cache, ids);
    else
      encode_byte(text.front(), ids);
    text.remove_prefix(std::max<std::size_t>(valid, 1));
  }
  return ids;
}

void BpeTokenizer::encode_valid(std::string_view text, TextBudget& budget, WordCache& cache,
                                std::vector<TokenId>& ids) const {
  for (const TextPiece& piece : raw_finder_.split(text)) {
    if (piece.token) {
      ids.push_back(*piece.token);
      continue;
    }
    const std::string normalized = definition_.normalizer.apply(piece.text, budget);
    for (const TextPiece& part : normalized_finder_.split(normalized)) {
      if (part.token)
        ids.push_back(*part.token);
      else
        encode_plain(part.text, budget, cache, ids);
    }
  }
}

void BpeTokenizer::encode_plain(std::string_view text, TextBudget& budget, WordCache& cache,
                                std::vector<TokenId>& ids) const {
  if (definition_.alphabet == BpeAlphabet::characters) return encode_characters(text, cache, ids);
  std::deque<std::string> storage;
  for (const std::string_view word : definition_.pre_tokenizer.split(text, storage, budget))
    cache.append(word, ids);
}

/// To the model the whole text is one word. Where no merge reaches across the beginning of a word the words
/// can be merged one by one, and remembered, with the same result.
void BpeTokenizer::encode_characters(std::string_view text, WordCache& cache,
                                     std::vector<TokenId>& ids) const {
  while (!text.empty()) {
    const std::size_t end = words_begin_at_spaces_ ? next_word(text, 0) : text.size();
    cache.append(text.substr(0, end), ids);
    text.remove_prefix(end);
  }
}

void BpeTokenizer::encode_byte(char byte, std::vector<TokenId>& ids) const {
  const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
  if (id == kNone)
    fail("{}: the vocabulary has no token for byte 0x{:02X}, which occurs outside valid UTF-8",
         definition_.origin, static_cast<unsigned char>(byte));
  ids.push_back(id);
}

std::vector<TokenId> BpeTokenizer::encode_word(std::string_view word) const {
  if (definition_.ignore_merges)
    if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) return {whole->second};
  std::vector<TokenId> symbols = spell(word);
  merges_.apply(symbols);
  return symbols;
}

std::vector<TokenId> BpeTokenizer::spell(std::string_view word) const {
  std::vector<TokenId> symbols;
  symbols.reserve(word.size());
  bool after_unknown = false;
  for (std::size_t at = 0; at < word.size();) {
    const bool by_bytes = definition_.alphabet == BpeAlphabet::bytes;
    const std::string_view symbol = word.substr(at, by_bytes ? 1 : decode_utf8(word, at).length);
    at += symbol.size();
    const auto known = by_bytes ? std::nullopt : definition_.vocabulary.find(symbol);
    bool unknown = false;
    if (known) {
      symbols.push_back(*known);
    } else {
      for (const char byte : symbol) unknown |= byte_ids_[static_cast<unsigned char>(byte)] == kNone;
      if (!unknown) {
        for (const char byte : symbol) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
      } else if (unknown_id_ == kNone) {
        fail("{}: {} cannot be spelled in the vocabulary, which also has no unk_token", definition_.origin,
             quote(word));
      } else if (!(definition_.fuse_unknown && after_unknown)) {
        symbols.push_back(unknown_id_);
      }
    }
    after_unknown = unknown;
  }
  return symbols;
}

std::string BpeTokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text;
  for (const TokenId id : ids) {
    if (definition_.vocabulary.spelling(id) == nullptr)
      fail("{}: token id {} is not in the vocabulary", definition_.origin, id);
    if (skip_special && is_special(id)) continue;
    text += decoded_[static_cast<std::size_t>(id)];
  }
  if (definition_.strip_leading_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

bool BpeTokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<std::size_t>(id) < special_.size() && special_[static_cast<std::size_t>(id)];
}

}  // namespace assay
