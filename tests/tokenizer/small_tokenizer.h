#pragma once
// A tokenizer.json small enough to reason about: every byte, "he", " t", " the", "ab", "abab".
#include <string>
#include <utility>
#include <vector>

#include "assay/base/json.h"
#include "assay/tokenizer/byte_alphabet.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay::test {

/// Ids: byte b is b, then "he" 256, "\u0120t" 257, "\u0120the" 258, "ab" 259, "abab" 260, then <s> 261, </s>
/// 262.
inline Json small_tokenizer() {
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"h", "e"}, {"\u0120", "t"}, {"\u0120t", "he"}, {"a", "b"}, {"ab", "ab"}};
  Json vocabulary = Json::object(), rules = Json::array();
  for (int byte = 0; byte < 256; ++byte) vocabulary[spell_byte(static_cast<unsigned char>(byte))] = byte;
  for (const auto& [left, right] : merges) {
    vocabulary[left + right] = vocabulary.size();
    rules.push_back(left + " " + right);
  }
  const auto added = [](int id, const char* content) {
    return Json{{"id", id}, {"content", content}, {"special", true}, {"normalized", false}};
  };
  return {{"added_tokens", {added(261, "<s>"), added(262, "</s>")}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", rules}}}};
}

inline TokenizerPtr load_json(const Json& json, const Json& config = Json::object()) {
  return load_tokenizer({{"tokenizer.json", json.dump()}, {"tokenizer_config.json", config.dump()}}, "model");
}

using Ids = std::vector<TokenId>;

}  // namespace assay::test
