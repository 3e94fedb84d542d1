#pragma once
// Token ids of a prompt: plain text, or a conversation through the model's chat template.
#include <string_view>
#include <vector>

#include "assay/runtime/session.h"
#include "assay/tokenizer/chat_template.h"

namespace assay {

/// Ids of plain text, the beginning-of-text token in front where the model demands it.
std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::string_view text);

/// Ids of a conversation up to where the assistant answers. The template writes its own beginning-of-text
/// token. Throws Error for a model without a template.
std::vector<TokenId> encode_chat(const LoadedModel& model, const std::vector<ChatMessage>& messages);

}  // namespace assay
