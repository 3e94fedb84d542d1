#include <unordered_set>

#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/tokenizer/sentencepiece_tokenizer.h"
#include "assay/tokenizer/tokenizer_config.h"
#include "assay/tokenizer/tokenizer_json.h"

namespace assay {
namespace {

using Files = std::map<std::string, std::string>;

/// transformers finds a token in text when any of a folder's files calls it added or special: adds to
/// `tokens` those that tokenizer_config.json and added_tokens.json know. `find` looks a token up in the
/// model's vocabulary.
template <class Find>
void complete_added_tokens(std::vector<AddedToken>& tokens, const Files& files, const TokenizerConfig& config,
                           const std::string& origin, const Find& find) {
  std::unordered_set<std::string> known;
  for (const AddedToken& token : tokens) known.insert(token.content);
  const auto add = [&](AddedToken token) {
    if (known.insert(token.content).second) tokens.push_back(std::move(token));
  };
  for (const AddedToken& token : config.added) add(token);
  const std::unordered_set<std::string> special(config.special.begin(), config.special.end());
  if (const auto file = files.find("added_tokens.json"); file != files.end()) {
    const std::string path = origin + "/added_tokens.json";
    const Json json = parse_json(file->second, path);
    if (!json.is_object()) fail("{}: not an object of token -> id", path);
    for (const auto& [content, id] : json.items()) {
      if (content.empty()) fail("{}: an added token is empty", path);
      const bool is_special = special.contains(content);
      add({.id = parse_token_id(id, content, path),
           .content = content,
           .special = is_special,
           .normalized = !is_special});
    }
  }
  for (const std::string& content : config.special) {
    if (content.empty() || known.contains(content)) continue;
    const std::optional<TokenId> id = find(content);
    if (!id) fail("{}: special token {} is not in the vocabulary", config.origin, quote(content));
    add({.id = *id, .content = content, .special = true});
  }
}

/// What is known beside the files' own statements.
struct Defaults {
  std::optional<TokenId> bos;  // from the post-processor
  bool adds_bos = false;
};

std::shared_ptr<Tokenizer> load_bpe(BpeDefinition definition, const Files& files,
                                    const TokenizerConfig& config, const std::string& origin,
                                    Defaults& defaults) {
  complete_added_tokens(definition.added, files, config, origin,
                        [&](const std::string& token) { return definition.vocabulary.find(token); });
  defaults = {definition.template_bos, definition.template_bos.has_value()};
  return std::make_shared<BpeTokenizer>(std::move(definition));
}

std::shared_ptr<Tokenizer> load_sentencepiece(const Files& files, TokenizerConfig& config,
                                              const std::string& origin, Defaults& defaults) {
  const SentencePieceModel model =
      read_sentencepiece_model(files.at("tokenizer.model"), origin + "/tokenizer.model");
  // What transformers takes these to be where nothing is said.
  const auto assume = [&](NamedToken& token, const char* content) {
    if (token.mentioned || !model.find(content)) return;
    token.content = content;
    config.special.emplace_back(content);
  };
  assume(config.bos, "<s>");
  assume(config.eos, "</s>");
  assume(config.unknown, "<unk>");
  std::vector<AddedToken> added;
  complete_added_tokens(added, files, config, origin,
                        [&](const std::string& token) { return model.find(token); });
  defaults.adds_bos = config.tokenizer_class.starts_with("LlamaTokenizer");
  return make_sentencepiece_tokenizer(model, added, config.legacy);
}

}  // namespace

TokenizerPtr load_tokenizer(const Files& files, const std::string& origin) {
  TokenizerConfig config = parse_tokenizer_config(files, origin);
  Defaults defaults;
  std::shared_ptr<Tokenizer> tokenizer;
  if (const auto json = files.find("tokenizer.json"); json != files.end()) {
    tokenizer = load_bpe(parse_tokenizer_json(json->second, origin + "/tokenizer.json"), files, config,
                         origin, defaults);
  } else if (files.contains("tokenizer.model")) {
    tokenizer = load_sentencepiece(files, config, origin, defaults);
  } else if (files.contains("vocab.json") && files.contains("merges.txt")) {
    tokenizer = load_bpe(parse_vocabulary_pair(files.at("vocab.json"), files.at("merges.txt"),
                                               config.tokenizer_class, config.add_prefix_space, origin),
                         files, config, origin, defaults);
  } else {
    fail("{}: no tokenizer: tokenizer.json, tokenizer.model, or vocab.json and merges.txt expected", origin);
  }
  tokenizer->bos = defaults.bos;
  if (!tokenizer->bos && config.bos.content) tokenizer->bos = tokenizer->find(*config.bos.content);
  tokenizer->adds_bos = config.adds_bos.value_or(defaults.adds_bos);
  if (tokenizer->adds_bos && !tokenizer->bos)
    fail("{}: every text begins with a token that no file names (bos_token)", config.origin);
  tokenizer->bos_text = config.bos.content.value_or("");
  tokenizer->eos_text = config.eos.content.value_or("");
  tokenizer->chat_template = config.chat_template;
  return tokenizer;
}

}  // namespace assay
