#include <unordered_set>
#include <utility>

#include "assay/base/error.h"
#include "assay/storage/gguf_pre_tokenizers.h"
#include "assay/storage/gguf_tokenizer.h"

namespace assay {
namespace {

const GgufPreTokenizer& require_pre_tokenizer(GgufMetadata& metadata) {
  const std::string key = "tokenizer.ggml.pre";
  const std::string name = metadata.require(metadata.text(key), key);
  if (const GgufPreTokenizer* kind = find_gguf_pre_tokenizer(name)) return *kind;
  fail("{}: key {} is {}: this pre-tokenizer is not supported ({} are)", metadata.path(), key, name,
       gguf_pre_tokenizer_names());
}

/// Tokens by text, added tokens among them: their ids may lie below those of the others.
OrderedJson vocabulary_json(const GgufVocabulary& vocabulary, const std::string& path) {
  std::unordered_set<std::string_view> seen;
  OrderedJson::object_t
      by_text;  // filled without the look-up of operator[], which is linear in ordered objects
  by_text.reserve(vocabulary.tokens.size());
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (!seen.insert(token).second)
      fail("{}: key tokenizer.ggml.tokens: token {} ({}) occurs twice", path, id, token);
    if (vocabulary.types[id] == GgufTokenType::byte)
      fail("{}: key tokenizer.ggml.token_type: token {} is a byte token, which a byte-level BPE cannot have",
           path, id);
    // Where the tokenizer has no token at all.
    if (vocabulary.types[id] == GgufTokenType::unused && token == gguf_filler(id)) continue;
    by_text.Container::emplace_back(std::string(token), id);
  }
  return by_text;
}

OrderedJson added_tokens(const GgufVocabulary& vocabulary, const std::string& path) {
  OrderedJson added = OrderedJson::array();
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const GgufTokenType type = vocabulary.types[id];
    if (type == GgufTokenType::normal || type == GgufTokenType::unused) continue;
    if (vocabulary.tokens[id].empty())
      fail("{}: key tokenizer.ggml.tokens: special token {} is empty", path, id);
    added.push_back({{"id", id},
                     {"content", vocabulary.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != GgufTokenType::user_defined}});
  }
  return added;
}

OrderedJson merges_json(GgufMetadata& metadata) {
  const std::string key = "tokenizer.ggml.merges";
  const GgufStrings* merges = metadata.strings(key);
  if (merges == nullptr) fail("{}: key {} is missing", metadata.path(), key);
  OrderedJson list = OrderedJson::array();
  for (const std::string_view merge : *merges) {
    const std::size_t space = merge.find(' ');
    const bool pair = space != std::string_view::npos && space > 0 && space + 1 < merge.size() &&
                      merge.find(' ', space + 1) == std::string_view::npos;
    if (!pair) fail("{}: key {}: \"{}\" is no pair of tokens", metadata.path(), key, merge);
    list.push_back(merge);
  }
  return list;
}

}  // namespace

std::string gguf_bpe_json(GgufMetadata& metadata, GgufVocabulary& vocabulary) {
  const GgufPreTokenizer& kind = require_pre_tokenizer(metadata);
  if (metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(false))
    fail("{}: key tokenizer.ggml.add_space_prefix is true: not supported for a byte-level BPE",
         metadata.path());
  metadata.ignore("tokenizer.ggml.scores");  // merges alone decide
  if (!vocabulary.adds_bos) vocabulary.adds_bos = kind.adds_bos;
  const OrderedJson byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const OrderedJson json = {{"version", "1.0"},
                            {"truncation", nullptr},
                            {"padding", nullptr},
                            {"added_tokens", added_tokens(vocabulary, metadata.path())},
                            {"normalizer", normalizer_json(kind)},
                            {"pre_tokenizer", pre_tokenizer_json(kind)},
                            {"post_processor", nullptr},
                            {"decoder", byte_level},
                            {"model",
                             {{"type", "BPE"},
                              {"dropout", nullptr},
                              {"unk_token", nullptr},
                              {"continuing_subword_prefix", nullptr},
                              {"end_of_word_suffix", nullptr},
                              {"fuse_unk", false},
                              {"byte_fallback", false},
                              {"ignore_merges", kind.whole_words},
                              {"vocab", vocabulary_json(vocabulary, metadata.path())},
                              {"merges", merges_json(metadata)}}}};
  return json.dump() + "\n";
}

}  // namespace assay
