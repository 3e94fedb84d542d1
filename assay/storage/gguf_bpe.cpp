#include <array>
#include <unordered_set>
#include <utility>

#include "assay/base/error.h"
#include "assay/storage/gguf_tokenizer.h"

namespace assay {
namespace {

/// What a value of tokenizer.ggml.pre stands for, in the terms of tokenizer.json.
struct PreTokenizerKind {
  std::string_view name;
  std::string_view split;  // a Split regex before ByteLevel; empty: ByteLevel applies GPT-2's own
  bool single_digits;      // every digit is a word of its own before anything else
  bool nfc;                // text is normalised to NFC first
  bool whole_words;        // a word that is a token is that token, whatever the merges say
  bool adds_bos;           // where the file does not say
};

constexpr std::array kPreTokenizers = {
    PreTokenizerKind{"gpt-2", "", false, false, false, false},
    PreTokenizerKind{"smollm", "", true, false, false, false},
    PreTokenizerKind{
        "qwen2",
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
        R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
        false, true, false, false},
    PreTokenizerKind{
        "llama-bpe",
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
        R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
        false, false, true, true},
};

const PreTokenizerKind& find_pre_tokenizer(GgufMetadata& metadata) {
  const std::string key = "tokenizer.ggml.pre";
  const std::string name = metadata.require(metadata.text(key), key);
  std::string known;
  for (const PreTokenizerKind& kind : kPreTokenizers) {
    if (kind.name == name) return kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  fail("{}: key {} is {}: this pre-tokenizer is not supported ({} are)", metadata.path(), key, name, known);
}

OrderedJson pre_tokenizer(const PreTokenizerKind& kind) {
  OrderedJson steps = OrderedJson::array();
  if (kind.single_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!kind.split.empty())
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", kind.split}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", kind.split.empty()}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
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
  const PreTokenizerKind& kind = find_pre_tokenizer(metadata);
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
                            {"normalizer", kind.nfc ? OrderedJson{{"type", "NFC"}} : OrderedJson(nullptr)},
                            {"pre_tokenizer", pre_tokenizer(kind)},
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
