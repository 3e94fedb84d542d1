#pragma once
// The pre-tokenizers of byte-level BPE that llama.cpp has a name for, in the terms of tokenizer.json.
#include <string>
#include <string_view>

#include "assay/base/json.h"

namespace assay {

/// What a value of tokenizer.ggml.pre stands for, in the terms of tokenizer.json.
struct GgufPreTokenizer {
  std::string_view name;
  std::string_view split;  // a Split regex before ByteLevel; empty: ByteLevel applies GPT-2's own
  bool single_digits;      // every digit is a word of its own before anything else
  bool nfc;                // text is normalised to NFC first
  bool whole_words;        // a word that is a token is that token, whatever the merges say
  bool adds_bos;           // where the file does not say
};

/// Null: no such name in the table.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);
/// The one that does what a tokenizer.json says, offsets aside; null: none of the table.
const GgufPreTokenizer* gguf_pre_tokenizer_of(const Json& tokenizer);
/// "gpt-2, smollm, ...", for messages.
std::string gguf_pre_tokenizer_names();

/// Its "pre_tokenizer" and "normalizer" in a tokenizer.json.
OrderedJson pre_tokenizer_json(const GgufPreTokenizer& kind);
OrderedJson normalizer_json(const GgufPreTokenizer& kind);

}  // namespace assay
