// A text, and what is done to it before it is merged. Cut at zero bytes: normalizer, pre-tokenizer and added
// tokens as tokenizer.json has them (empty: none, the pattern of GPT-2, none), then the text. The vocabulary
// is fixed.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "assay/base/error.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace {

using assay::Json;

/// The part up to the next zero byte, as JSON; nothing where it is empty.
Json take_json(std::string_view& input) {
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view part = input.substr(0, end);
  input.remove_prefix(std::min(end + 1, input.size()));
  return part.empty() ? Json() : assay::parse_json(part, "fuzz");
}

void encode(std::string_view input) {
  Json json = assay::test::small_tokenizer();
  const Json normalizer = take_json(input), words = take_json(input), added = take_json(input);
  json["normalizer"] = normalizer;
  if (!words.is_null()) json["pre_tokenizer"] = words;
  json["added_tokens"] = added;
  if (normalizer.is_object() && normalizer.value("type", Json()) != "NFC") {  // Llama 2's kind
    const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
    json["pre_tokenizer"] = nullptr;
    json["decoder"] = {{"decoders", {replace, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
    json["model"]["unk_token"] = "?";
  }
  const assay::TokenizerPtr tokenizer = assay::load_tokenizer({{"tokenizer.json", json.dump()}}, "fuzz");
  const std::vector<assay::TokenId> ids = tokenizer->encode(input);
  if (tokenizer->encode(input) != ids) std::abort();
  const std::string decoded = tokenizer->decode(ids);
  if (normalizer.is_null() && words.is_null() && added.is_null() && decoded != input) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    encode({reinterpret_cast<const char*>(data), size});
  } catch (const assay::Error&) {  // what a hostile description must lead to
  }
  return 0;
}
