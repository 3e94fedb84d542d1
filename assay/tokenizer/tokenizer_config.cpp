#include "assay/tokenizer/tokenizer_config.h"

#include <charconv>

#include "assay/base/error.h"
#include "assay/base/json.h"
#include "assay/base/quote.h"
#include "assay/tokenizer/tokenizer_json.h"

namespace assay {
namespace {

constexpr std::size_t kLargestTemplate = 1u << 20;

/// A special token is a string, or an object with its content.
std::optional<std::string> token_content(const Json& value, const char* key, const std::string& origin) {
  if (value.is_null()) return std::nullopt;
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object()) return json_get<std::string>(value, "content", origin);
  fail("{}: key \"{}\" is neither a string nor a token", origin, key);
}

std::vector<AddedToken> parse_added(const Json& json, const std::string& origin) {
  std::vector<AddedToken> tokens;
  if (json.is_null()) return tokens;
  if (!json.is_object()) fail("{}: added_tokens_decoder is not an object", origin);
  for (const auto& [key, entry] : json.items()) {
    TokenId id = -1;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (problem != std::errc() || end != key.data() + key.size() || id < 0)
      fail("{}: added_tokens_decoder: key {} is not a token id", origin, quote(key));
    tokens.push_back(parse_added_token(entry, id, origin));
  }
  return tokens;
}

/// A template, or a list of named ones, of which the one named "default" is used.
std::string parse_chat_template(const Json& json, const std::string& origin) {
  if (json.is_null()) return {};
  if (json.is_string()) return json.get<std::string>();
  if (!json.is_array()) fail("{}: chat_template is neither a string nor a list", origin);
  for (const Json& entry : json)
    if (json_get<std::string>(entry, "name", origin) == "default")
      return json_get<std::string>(entry, "template", origin);
  fail("{}: chat_template is a list in which none is named \"default\"", origin);
}

void read_special_tokens(const Json& json, TokenizerConfig& config) {
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
    if (json.contains(key))
      if (const auto content = token_content(json[key], key, config.origin))
        config.special.push_back(*content);
  // Newer files call the list extra_special_tokens; as an object it names tokens, of which only the contents
  // count.
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
    if (json.contains(key))
      for (const auto& entry : json[key].items())
        if (const auto content = token_content(entry.value(), key, config.origin))
          config.special.push_back(*content);
  const auto named = [&](const char* key) {
    return json.contains(key) ? NamedToken{true, token_content(json[key], key, config.origin)} : NamedToken{};
  };
  config.bos = named("bos_token");
  config.eos = named("eos_token");
  config.unknown = named("unk_token");
}

void read_config(const std::string& text, TokenizerConfig& config) {
  const std::string& origin = config.origin;
  const Json json = parse_json(text, origin);
  if (!json.is_object()) fail("{}: not a JSON object", origin);
  read_special_tokens(json, config);
  config.tokenizer_class = json_get_or<std::string>(json, "tokenizer_class", "", origin);
  config.add_prefix_space = json_get_or<bool>(json, "add_prefix_space", false, origin);
  config.legacy = json_get_or<bool>(json, "legacy", true, origin);
  if (json.contains("add_bos_token") && !json["add_bos_token"].is_null())
    config.adds_bos = json_get<bool>(json, "add_bos_token", origin);
  if (json_get_or<bool>(json, "add_eos_token", false, origin))
    fail("{}: add_eos_token is true; a token behind every text is not supported", origin);
  if (json.contains("added_tokens_decoder")) config.added = parse_added(json["added_tokens_decoder"], origin);
  if (json.contains("chat_template"))
    config.chat_template = parse_chat_template(json["chat_template"], origin);
}

}  // namespace

TokenizerConfig parse_tokenizer_config(const std::map<std::string, std::string>& files,
                                       const std::string& origin) {
  TokenizerConfig config;
  config.origin = origin + "/tokenizer_config.json";
  if (const auto file = files.find("tokenizer_config.json"); file != files.end())
    read_config(file->second, config);
  if (const auto file = files.find("chat_template.jinja"); file != files.end())
    config.chat_template = file->second;
  if (config.chat_template.size() > kLargestTemplate)
    fail("{}: chat template of {} bytes, at most {} expected", origin, config.chat_template.size(),
         kLargestTemplate);
  return config;
}

}  // namespace assay
