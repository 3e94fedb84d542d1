#pragma once
// The tokenizer part of a GGUF file's metadata as the files of a Hugging Face folder.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/storage/checkpoint.h"
#include "assay/storage/gguf_metadata.h"

namespace assay {

/// How GGUF (and sentencepiece) class a token.
enum class GgufTokenType : std::int32_t { normal = 1, unknown, control, user_defined, unused, byte };

/// What both kinds of tokenizer share.
struct GgufVocabulary {
  GgufStrings tokens;                                       // by id
  std::vector<GgufTokenType> types;                         // as many
  std::optional<std::uint64_t> bos, eos, unknown, padding;  // ids, each below tokens.size()
  std::vector<std::uint64_t> ends;                          // every id that ends generation, eos first
  std::optional<bool> adds_bos;  // what the file says; the default depends on the tokenizer
  std::optional<std::string> chat_template;
};

/// What stands for an id that the tokenizer does not have, of the type unused.
std::string gguf_filler(std::uint64_t id);

/// tokenizer.json or tokenizer.model, tokenizer_config.json and generation_config.json. `vocabulary` is the
/// model's: the tokens must be as many. A tokenizer model or pre-tokenizer that is not known is an Error that
/// names it.
Sidecars gguf_tokenizer_files(GgufMetadata& metadata, std::uint64_t vocabulary);

/// tokenizer.json of a byte-level BPE ("gpt2"), with the pre-tokenizer that tokenizer.ggml.pre means.
/// Sets vocabulary.adds_bos where the file leaves it open.
std::string gguf_bpe_json(GgufMetadata& metadata, GgufVocabulary& vocabulary);

/// tokenizer.model of a sentencepiece BPE ("llama"): a serialised ModelProto. Sets vocabulary.adds_bos
/// likewise.
std::string gguf_sentencepiece_model(GgufMetadata& metadata, GgufVocabulary& vocabulary);

}  // namespace assay
