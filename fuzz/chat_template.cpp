// Chat templates: lexer, parser and interpreter.
#include <cstdint>
#include <string>

#include "assay/base/error.h"
#include "assay/tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  assay::ChatTemplateInput input;
  input.messages = {
      {"system", " Be brief. "}, {"user", "h\xC3\xA9llo"}, {"assistant", "<think>\na\n</think>\nb"}};
  input.bos_token = "<s>";
  input.eos_token = "</s>";
  input.date = "2024-07-26";
  try {
    (void)assay::render_chat_template(std::string(reinterpret_cast<const char*>(data), size), input, "fuzz");
  } catch (const assay::Error&) {  // what a reader owes to a broken template
  }
  return 0;
}
