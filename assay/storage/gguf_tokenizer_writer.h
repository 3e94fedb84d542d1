#pragma once
// The inverse of gguf_tokenizer.h: the tokenizer's files of a Hugging Face folder as the keys of a GGUF file.
// What llama.cpp would cut otherwise than the files say is an Error that names it.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "assay/storage/checkpoint.h"
#include "assay/storage/gguf_header.h"
#include "assay/storage/gguf_tokenizer.h"

namespace assay {

/// Sets tokenizer.*. `config` leaves nothing out (model/config.h, config_json): the vocabulary is its
/// vocab_size, unused tokens filling it up, and what ends a text its eos_token_id.
void write_gguf_tokenizer(const Sidecars& files, const Json& config, GgufHeader& header);

/// The vocabulary under construction.
class GgufTokenTable {
 public:
  /// `size`: of the model's vocabulary; `path` opens messages.
  GgufTokenTable(std::uint64_t size, std::string path)
      : tokens_(size), types_(size), path_(std::move(path)) {}

  void add(std::string_view token, std::uint64_t id, GgufTokenType type);
  /// A token that is found in the text before all others; the first to say so of a token counts.
  void add_found(std::string_view token, std::uint64_t id, bool special);
  /// The same of a token that is there already. Throws Error when it is not.
  void mark_special(std::string_view token);
  /// Gives the ids that nothing has a token that never occurs.
  void fill();

  std::optional<std::uint64_t> find(std::string_view token) const;
  const std::vector<std::string>& tokens() const { return tokens_; }  // by id
  const std::vector<std::int32_t>& types() const { return types_; }   // by id; 0: nothing there yet

 private:
  std::vector<std::string> tokens_;
  std::vector<std::int32_t> types_;
  std::unordered_map<std::string, std::uint64_t> ids_;
  std::string path_;
};

/// What a kind of tokenizer knows beside its vocabulary.
struct GgufTextStart {
  std::optional<std::uint64_t> bos;  // by the tokenizer's own file
  bool adds_bos = false;             // where tokenizer_config.json does not say
};

/// tokenizer.json of a byte-level BPE: fills the table and sets the keys that only this kind has.
GgufTextStart write_gguf_bpe(const Json& tokenizer, GgufTokenTable& table, GgufHeader& header);

/// Likewise tokenizer.model, a serialised ModelProto. Returns the scores by id.
std::vector<float> write_gguf_sentencepiece(const std::string& model, GgufTokenTable& table,
                                            GgufHeader& header);

/// Throws Error for an added token whose conditions (white space taken along, whole words only) GGUF cannot
/// say.
void refuse_conditions(const Json& added_token, const std::string& path);

}  // namespace assay
