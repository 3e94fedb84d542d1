#pragma once
// Text to token ids and back. Two kinds behind one class: byte-level BPE (tokenizer.json, vocab.json +
// merges.txt) and sentencepiece (tokenizer.model).
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

using TokenId = std::int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of the text. Added tokens (<|im_start|>, ...) that occur in the text are matched, as Hugging Face
  /// does; nothing is put before or behind.
  virtual std::vector<TokenId> encode(std::string_view text) const = 0;
  /// Bytes of the ids. Invalid UTF-8 is kept as it is; special tokens are written out unless skipped. Throws
  /// Error for ids outside the vocabulary.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special = false) const = 0;
  /// Highest id + 1.
  virtual std::size_t vocabulary_size() const = 0;
  virtual bool is_special(TokenId id) const = 0;
  virtual std::optional<TokenId> find(std::string_view token) const = 0;

  /// Beginning-of-text token and whether the model's configuration demands it before plain text.
  std::optional<TokenId> bos;
  bool adds_bos = false;
  std::string bos_text, eos_text;  // as chat templates see them
  std::string chat_template;       // Jinja source, empty when the model has none
};
using TokenizerPtr = std::shared_ptr<const Tokenizer>;

/// Builds the tokenizer from a model's small files (file name -> content): tokenizer.json preferred, then
/// tokenizer.model, then vocab.json + merges.txt; tokenizer_config.json and chat_template.jinja complete it.
/// `origin` opens every message. Throws Error for what it cannot reproduce exactly: never an approximation.
TokenizerPtr load_tokenizer(const std::map<std::string, std::string>& files, const std::string& origin);

}  // namespace assay
