#pragma once
// tokenizer.json, and its older form vocab.json + merges.txt.
#include <string>
#include <vector>

#include "assay/tokenizer/bpe_tokenizer.h"

namespace assay {

/// Reads tokenizer.json. Throws Error, naming it, for whatever this program would not reproduce exactly.
BpeDefinition parse_tokenizer_json(const std::string& text, const std::string& origin);

/// Reads vocab.json and merges.txt, whose pre-tokenization only the class of tokenizer_config.json tells:
/// GPT2Tokenizer or Qwen2Tokenizer (with or without "Fast"); any other is an Error.
BpeDefinition parse_vocabulary_pair(const std::string& vocabulary, const std::string& merges,
                                    const std::string& tokenizer_class, bool add_prefix_space,
                                    const std::string& origin);

/// One entry of added_tokens (or added_tokens_decoder, whose ids are keys). Throws Error.
AddedToken parse_added_token(const Json& json, TokenId id, const std::string& origin);

}  // namespace assay
