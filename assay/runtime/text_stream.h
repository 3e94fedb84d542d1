#pragma once
// Text of generated tokens as they come, in whole UTF-8 characters.
#include <optional>
#include <string>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

class TextStream {
 public:
  /// `before`: the last token of the prompt. Some tokenizers decode a token differently at the start of a
  /// text.
  TextStream(const Tokenizer& tokenizer, std::optional<TokenId> before)
      : tokenizer_(tokenizer), previous_(before) {}

  /// Appends a token; what can be printed now. Special tokens have no text. A character of several bytes is
  /// held back until its last one.
  std::string add(TokenId id);
  /// What is still held back: a character that was never completed.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::optional<TokenId> previous_;
  std::string held_;
};

}  // namespace assay
