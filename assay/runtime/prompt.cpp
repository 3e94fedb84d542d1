#include "assay/runtime/prompt.h"

#include <fmt/chrono.h>

#include <chrono>

#include "assay/base/error.h"

namespace assay {

std::vector<TokenId> encode_prompt(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> ids = tokenizer.encode(text);
  if (tokenizer.adds_bos && tokenizer.bos) ids.insert(ids.begin(), *tokenizer.bos);
  return ids;
}

std::vector<TokenId> encode_chat(const LoadedModel& model, const std::vector<ChatMessage>& messages) {
  const Tokenizer& tokenizer = *model.tokenizer;
  if (tokenizer.chat_template.empty())
    fail("{}: the model has no chat template: run it on plain text, without --chat", model.checkpoint->path);
  ChatTemplateInput input;
  input.messages = messages;
  input.bos_token = tokenizer.bos_text;
  input.eos_token = tokenizer.eos_text;
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  input.date = fmt::format("{:%Y-%m-%d}", fmt::localtime(now));
  return tokenizer.encode(render_chat_template(tokenizer.chat_template, input, model.checkpoint->path));
}

}  // namespace assay
