#pragma once
// Byte-pair encoding as Hugging Face's `tokenizers` runs it: added tokens are cut out of the text, the rest
// is normalized, cut into words, spelled in the vocabulary's alphabet, and merged.
//
// Text is taken as bytes. Where it is not valid UTF-8 each offending byte becomes the token of that byte by
// itself and the text on both sides is encoded as if it ended there; decoding gives the bytes back.
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "assay/tokenizer/added_tokens.h"
#include "assay/tokenizer/bpe_merges.h"
#include "assay/tokenizer/normalizer.h"
#include "assay/tokenizer/pre_tokenizer.h"
#include "assay/tokenizer/tokenizer.h"
#include "assay/tokenizer/vocabulary.h"

namespace assay {

/// How a vocabulary spells text.
enum class BpeAlphabet {
  bytes,       // one symbol a byte, in GPT-2's printable spelling
  characters,  // one symbol a character, U+2581 for a space, "<0xE2>" for bytes of characters it lacks (Llama
               // 2)
};

/// What a tokenizer's files say.
struct BpeDefinition {
  std::string origin;                                       // opens messages
  Vocabulary vocabulary;                                    // of the model; added tokens join it later
  std::vector<std::pair<std::string, std::string>> merges;  // highest priority first
  BpeAlphabet alphabet = BpeAlphabet::bytes;
  bool ignore_merges = false;  // a word that is a token by itself is not merged
  bool byte_fallback = false;
  bool fuse_unknown = false;
  std::optional<std::string>
      unknown;  // token for symbols outside the vocabulary; without it they are an Error
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added;
  std::optional<TokenId> template_bos;  // the token that the post-processor puts in front
  bool strip_leading_space = false;     // when decoding: the space that the normalizer put in front
};

class BpeTokenizer final : public Tokenizer {
 public:
  /// Throws Error for merges of unknown tokens and the like.
  explicit BpeTokenizer(BpeDefinition definition);

  std::vector<TokenId> encode(std::string_view text) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const override;
  std::size_t vocabulary_size() const override { return definition_.vocabulary.size(); }
  bool is_special(TokenId id) const override;
  std::optional<TokenId> find(std::string_view token) const override {
    return definition_.vocabulary.find(token);
  }

 private:
  static constexpr TokenId kNone = -1;
  class WordCache;

  void read_model();
  void read_merges();
  void read_added();
  void encode_valid(std::string_view text, TextBudget& budget, WordCache& cache,
                    std::vector<TokenId>& ids) const;
  void encode_plain(std::string_view text, TextBudget& budget, WordCache& cache,
                    std::vector<TokenId>& ids) const;
  void encode_characters(std::string_view text, WordCache& cache, std::vector<TokenId>& ids) const;
  void encode_byte(char byte, std::vector<TokenId>& ids) const;
  std::vector<TokenId> encode_word(std::string_view word) const;
  std::vector<TokenId> spell(std::string_view word) const;

  BpeDefinition definition_;
  BpeMerges merges_;
  AddedTokenFinder raw_finder_, normalized_finder_;
  std::array<TokenId, 256> byte_ids_{};  // token of each byte, kNone where the vocabulary lacks it
  TokenId unknown_id_ = kNone;
  bool words_begin_at_spaces_ = false;  // characters alphabet: no token goes on behind a word
  StringMap<TokenId> whole_words_;      // by bytes; filled for ignore_merges only
  std::vector<std::string> decoded_;    // bytes of each id
  std::vector<bool> special_;           // by id
};

}  // namespace assay
