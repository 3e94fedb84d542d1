// tokenizer.json, tokenizer_config.json, vocab.json and merges.txt. The input is cut at zero bytes into the
// files' contents and a text to encode; the first byte says which files they are.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "assay/base/error.h"
#include "assay/tokenizer/tokenizer.h"

namespace {

// Something of everything: words, digits, invalid bytes, added tokens with white space, a word of many
// symbols.
constexpr char kText[] =
    " the 12 caf\xC3\xA9\xFF<s>x  <mask>  word \xC3\xA9word  <end> \xE2\x80\x83 lr "
    "abababababababababababababababababababababababababab";

std::vector<std::string> cut_at_zeros(std::string_view bytes) {
  std::vector<std::string> parts;
  for (std::size_t end = bytes.find('\0'); end != std::string_view::npos; end = bytes.find('\0')) {
    parts.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(end + 1);
  }
  parts.emplace_back(bytes);
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::string> parts = cut_at_zeros({reinterpret_cast<const char*>(data) + 1, size - 1});
  parts.resize(5);
  std::map<std::string, std::string> files;
  if (data[0] == 'P') {
    files = {{"vocab.json", parts[0]}, {"merges.txt", parts[2]}};
    if (!parts[3].empty()) files["added_tokens.json"] = parts[3];
  } else {
    files = {{"tokenizer.json", parts[0]}};
    if (!parts[2].empty()) files["chat_template.jinja"] = parts[2];
  }
  if (!parts[1].empty()) files["tokenizer_config.json"] = parts[1];
  try {
    const assay::TokenizerPtr tokenizer = assay::load_tokenizer(files, "fuzz");
    const std::vector<assay::TokenId> ids = tokenizer->encode(parts[4] + kText);
    (void)tokenizer->decode(ids, true);
  } catch (const assay::Error&) {  // what a reader owes to a broken file
  }
  return 0;
}
