#pragma once
// tokenizer_config.json and chat_template.jinja: what completes a tokenizer's vocabulary.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assay/tokenizer/added_tokens.h"

namespace assay {

/// A token that the configuration may name, say to be absent (null), or not mention.
struct NamedToken {
  bool mentioned = false;
  std::optional<std::string> content;
};

struct TokenizerConfig {
  std::string origin;           // opens messages: the path of tokenizer_config.json
  std::string tokenizer_class;  // "" when not said
  NamedToken bos, eos, unknown;
  std::vector<std::string> special;  // contents of all special tokens that it names, bos and eos among them
  std::optional<bool> adds_bos;      // nothing when not said
  bool add_prefix_space = false;
  bool legacy = true;             // sentencepiece: text behind a special token begins a new sentence
  std::vector<AddedToken> added;  // added_tokens_decoder
  std::string chat_template;
};

/// Reads what is there of both files; everything is optional. Throws Error.
TokenizerConfig parse_tokenizer_config(const std::map<std::string, std::string>& files,
                                       const std::string& origin);

}  // namespace assay
