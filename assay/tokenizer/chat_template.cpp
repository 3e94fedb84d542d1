#include "assay/tokenizer/chat_template.h"

#include "assay/jinja/interpreter.h"
#include "assay/jinja/parser.h"

namespace assay {
namespace {

/// What transformers lets a template see. Special tokens that a model lacks stay undefined.
jinja::Dict template_variables(const ChatTemplateInput& input) {
  using jinja::Function;
  using jinja::Value;
  jinja::List messages;
  for (const ChatMessage& message : input.messages)
    messages.push_back(
        Value::dict({{"role", Value::string(message.role)}, {"content", Value::string(message.content)}}));
  jinja::Dict variables = {{"messages", Value::list(std::move(messages))},
                           {"add_generation_prompt", Value::boolean(input.add_generation_prompt)},
                           {"tools", Value::none()},
                           {"documents", Value::none()},
                           {"range", Value::function(Function::range)},
                           {"namespace", Value::function(Function::make_namespace)},
                           {"raise_exception", Value::function(Function::raise_exception)},
                           {"strftime_now", Value::function(Function::strftime_now)}};
  if (!input.bos_token.empty()) variables.emplace_back("bos_token", Value::string(input.bos_token));
  if (!input.eos_token.empty()) variables.emplace_back("eos_token", Value::string(input.eos_token));
  return variables;
}

}  // namespace

std::string render_chat_template(const std::string& source, const ChatTemplateInput& input,
                                 const std::string& origin) {
  jinja::Context context(origin);
  const jinja::Block block = jinja::parse_template(source, context);
  return jinja::Interpreter(template_variables(input), input.date, context).run(block);
}

}  // namespace assay
