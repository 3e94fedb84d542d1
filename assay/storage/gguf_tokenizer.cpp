#include "assay/storage/gguf_tokenizer.h"

#include <algorithm>
#include <utility>

#include "assay/base/error.h"

namespace assay {
namespace {

std::optional<std::uint64_t> token_id(GgufMetadata& metadata, const char* name, std::size_t tokens) {
  const std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
  const auto id = metadata.integer(key);
  if (id && *id >= tokens) fail("{}: key {} is {}, there are {} tokens", metadata.path(), key, *id, tokens);
  return id;
}

std::vector<GgufTokenType> token_types(GgufMetadata& metadata, std::size_t tokens) {
  const std::string key = "tokenizer.ggml.token_type";
  const auto stored = metadata.require(metadata.integers(key), key);
  if (stored.size() != tokens)
    fail("{}: key {} has {} entries, there are {} tokens", metadata.path(), key, stored.size(), tokens);
  std::vector<GgufTokenType> types;
  for (std::size_t id = 0; id < stored.size(); ++id) {
    if (stored[id] < 1 || stored[id] > 6)
      fail("{}: key {}: the type of token {} is {}, 1 to 6 expected", metadata.path(), key, id, stored[id]);
    types.push_back(static_cast<GgufTokenType>(stored[id]));
  }
  return types;
}

/// Keys that only describe, or that matter to tasks and tokenizers that Assay does not have.
void ignore_descriptive_keys(GgufMetadata& metadata) {
  for (const char* name : {"fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep", "prefix",
                           "suffix", "middle", "seperator", "cls", "mask"})
    metadata.ignore(std::string("tokenizer.ggml.") + name + "_token_id");
}

GgufVocabulary read_vocabulary(GgufMetadata& metadata, std::uint64_t expected) {
  GgufVocabulary vocabulary;
  const std::string tokens_key = "tokenizer.ggml.tokens";
  const GgufStrings* tokens = metadata.strings(tokens_key);
  if (tokens == nullptr) fail("{}: key {} is missing", metadata.path(), tokens_key);
  if (tokens->size() != expected)
    fail("{}: key {} has {} entries, the model's vocabulary has {}", metadata.path(), tokens_key,
         tokens->size(), expected);
  vocabulary.tokens = *tokens;
  vocabulary.types = token_types(metadata, tokens->size());
  vocabulary.bos = token_id(metadata, "bos", tokens->size());
  vocabulary.eos = token_id(metadata, "eos", tokens->size());
  vocabulary.unknown = token_id(metadata, "unknown", tokens->size());
  vocabulary.padding = token_id(metadata, "padding", tokens->size());
  for (const auto& id :
       {vocabulary.eos, token_id(metadata, "eot", tokens->size()), token_id(metadata, "eom", tokens->size())})
    if (id && std::find(vocabulary.ends.begin(), vocabulary.ends.end(), *id) == vocabulary.ends.end())
      vocabulary.ends.push_back(*id);
  vocabulary.adds_bos = metadata.boolean("tokenizer.ggml.add_bos_token");
  if (metadata.boolean("tokenizer.ggml.add_eos_token").value_or(false))
    fail("{}: key tokenizer.ggml.add_eos_token is true: tokenizers that end every text are not supported",
         metadata.path());
  vocabulary.chat_template = metadata.text("tokenizer.chat_template");
  ignore_descriptive_keys(metadata);
  return vocabulary;
}

std::string tokenizer_config(const GgufVocabulary& vocabulary, const std::string& path) {
  const auto text = [&](const std::optional<std::uint64_t>& id) {
    return id ? OrderedJson(vocabulary.tokens[*id]) : OrderedJson(nullptr);
  };
  const bool adds_bos = vocabulary.adds_bos.value_or(false);
  if (adds_bos && !vocabulary.bos)
    fail("{}: key tokenizer.ggml.bos_token_id is missing, but every text begins with it", path);
  OrderedJson::object_t added;  // filled without operator[], whose look-up is linear in ordered objects
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id)
    if (const GgufTokenType type = vocabulary.types[id];
        type == GgufTokenType::control || type == GgufTokenType::user_defined)
      added.Container::emplace_back(std::to_string(id),
                                    OrderedJson{{"content", vocabulary.tokens[id]},
                                                {"lstrip", false},
                                                {"normalized", false},
                                                {"rstrip", false},
                                                {"single_word", false},
                                                {"special", type == GgufTokenType::control}});
  OrderedJson config = {{"add_bos_token", adds_bos},
                        {"add_eos_token", false},
                        {"bos_token", text(vocabulary.bos)},
                        {"eos_token", text(vocabulary.eos)},
                        {"unk_token", text(vocabulary.unknown)},
                        {"pad_token", text(vocabulary.padding)},
                        {"clean_up_tokenization_spaces", false},
                        {"added_tokens_decoder", std::move(added)}};
  if (vocabulary.chat_template) config["chat_template"] = *vocabulary.chat_template;
  return config.dump(2) + "\n";
}

std::string generation_config(const GgufVocabulary& vocabulary) {
  OrderedJson config = OrderedJson::object();
  if (vocabulary.bos) config["bos_token_id"] = *vocabulary.bos;
  if (!vocabulary.ends.empty()) config["eos_token_id"] = vocabulary.ends;
  if (vocabulary.padding) config["pad_token_id"] = *vocabulary.padding;
  return config.dump(2) + "\n";
}

}  // namespace

std::string gguf_filler(std::uint64_t id) {
  return fmt::format("[PAD{}]", id);
}

Sidecars gguf_tokenizer_files(GgufMetadata& metadata, std::uint64_t vocabulary_size) {
  const std::string key = "tokenizer.ggml.model";
  const std::string model = metadata.require(metadata.text(key), key);
  if (model != "gpt2" && model != "llama")
    fail("{}: key {} is {}: this tokenizer is not supported (gpt2 and llama are)", metadata.path(), key,
         model);
  GgufVocabulary vocabulary = read_vocabulary(metadata, vocabulary_size);
  Sidecars files;
  if (model == "gpt2")
    files["tokenizer.json"] = gguf_bpe_json(metadata, vocabulary);
  else
    files["tokenizer.model"] = gguf_sentencepiece_model(metadata, vocabulary);
  files["tokenizer_config.json"] = tokenizer_config(vocabulary, metadata.path());
  files["generation_config.json"] = generation_config(vocabulary);
  return files;
}

}  // namespace assay
