#pragma once
// sentencepiece models (tokenizer.model), through libsentencepiece, with the added tokens of a Hugging Face
// folder found in the text before it, as transformers' LlamaTokenizer finds them.
//
// Text is taken as bytes: where it is not valid UTF-8, each offending byte becomes the model's byte token.
#include <memory>
#include <vector>

#include "assay/tokenizer/added_tokens.h"
#include "assay/tokenizer/sentencepiece_guard.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// `added` is found in the text before the model sees it. `legacy`: text behind an added token begins a new
/// sentence, with its dummy space. Throws Error for a model that libsentencepiece refuses.
std::shared_ptr<Tokenizer> make_sentencepiece_tokenizer(const SentencePieceModel& model,
                                                        const std::vector<AddedToken>& added, bool legacy);

}  // namespace assay
