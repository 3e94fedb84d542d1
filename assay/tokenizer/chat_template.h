#pragma once
// The subset of Jinja that chat templates of the Qwen and Llama families use. Anything outside it is an Error
// that quotes the construct; loops and output are bounded.
#include <string>
#include <vector>

namespace assay {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct ChatTemplateInput {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;
  std::string date;  // "2024-07-26", for templates that print today's date; empty refuses them
};

/// Renders the template source with the messages. `origin` opens error messages. Throws Error.
std::string render_chat_template(const std::string& source, const ChatTemplateInput& input,
                                 const std::string& origin);

}  // namespace assay
