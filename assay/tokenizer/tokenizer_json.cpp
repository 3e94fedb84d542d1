#include "assay/tokenizer/tokenizer_json.h"

#include <set>

#include "assay/base/error.h"
#include "assay/base/quote.h"

namespace assay {
namespace {

const std::string kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The value of a key, null where the key is absent.
const Json& value_or_null(const Json& object, const char* key) {
  static const Json kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

const Json& require(const Json& object, const char* key, const std::string& origin) {
  const Json& value = value_or_null(object, key);
  if (value.is_null()) fail("{}: key \"{}\" is missing", origin, key);
  return value;
}

std::pair<std::string, std::string> split_merge(std::string_view line, std::size_t rank,
                                                const std::string& origin) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
    fail("{}: merge {} is {}, two tokens with a space between expected", origin, rank, quote(line));
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

/// Merges are written "left right", or since 2024 as pairs, so that tokens may hold spaces.
std::vector<std::pair<std::string, std::string>> parse_merges(const Json& json, const std::string& origin) {
  if (!json.is_array()) fail("{}: merges are not a list", origin);
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(json.size());
  for (const Json& merge : json) {
    if (merge.is_string())
      merges.push_back(split_merge(merge.get_ref<const std::string&>(), merges.size(), origin));
    else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    else
      fail("{}: merge {} is neither a string nor a pair of strings", origin, merges.size());
  }
  return merges;
}

/// Refuses model options that change the ids and are not reproduced here.
void check_model_options(const Json& model, const std::string& origin) {
  // Old files have no type; then the merges tell.
  const auto type = json_get_or<std::string>(model, "type", "BPE", origin);
  if (type != "BPE") fail("{}: tokenizer model {} is not supported (BPE is)", origin, quote(type));
  if (json_get_or<double>(model, "dropout", 0.0, origin) != 0.0)
    fail("{}: BPE dropout makes ids random and is not supported", origin);
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json_get_or<std::string>(model, affix, "", origin).empty())
      fail("{}: BPE option {} is not supported", origin, affix);
}

bool is_replace(const Json& json, const char* pattern, const char* content) {
  return json.is_object() && json.value("type", Json()) == "Replace" &&
         json.value("pattern", Json()) == Json{{"String", pattern}} &&
         json.value("content", Json()) == content;
}

/// Llama 2 and its kin: the text is one word, spaces are U+2581.
void read_character_alphabet(const Json& json, BpeDefinition& definition) {
  const std::string& origin = definition.origin;
  if (definition.normalizer.keeps_spaces())
    fail("{}: no pre-tokenizer, and a normalizer that keeps spaces: not a kind of BPE that is supported",
         origin);
  if (definition.ignore_merges) fail("{}: ignore_merges without a pre-tokenizer is not supported", origin);
  definition.alphabet = BpeAlphabet::characters;
  const Json& parts = value_or_null(value_or_null(json, "decoder"), "decoders");
  const auto has_type = [&](std::size_t i, const char* type) {
    return parts[i].is_object() && parts[i].value("type", Json()) == type;
  };
  const bool known = parts.is_array() && (parts.size() == 3 || parts.size() == 4) &&
                     is_replace(parts[0], "\u2581", " ") && has_type(1, "ByteFallback") &&
                     has_type(2, "Fuse");
  if (!known)
    fail("{}: a decoder Replace, ByteFallback, Fuse (and Strip) is expected beside no pre-tokenizer", origin);
  if (parts.size() == 4) {
    if (parts[3] != Json{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}})
      fail("{}: the decoder's fourth part is {}, a Strip of one leading space expected", origin,
           parts[3].dump());
    definition.strip_leading_space = true;
  }
}

void read_byte_alphabet(const Json& json, BpeDefinition& definition) {
  const std::string& origin = definition.origin;
  if (!definition.normalizer.keeps_spaces())
    fail("{}: a byte-level tokenizer with a normalizer other than NFC is not supported", origin);
  if (definition.byte_fallback) fail("{}: byte_fallback in a byte-level tokenizer is not supported", origin);
  definition.pre_tokenizer = parse_pre_tokenizer(json["pre_tokenizer"], origin);
  const Json& decoder = value_or_null(json, "decoder");
  if (!decoder.is_null() && json_get<std::string>(decoder, "type", origin) != "ByteLevel")
    fail("{}: decoder {} is not supported for a byte-level tokenizer (ByteLevel is)", origin,
         quote(decoder["type"].get<std::string>()));
}

/// The post-processor's template for one text: at most one token in front, none behind.
std::optional<TokenId> parse_template(const Json& processor, const std::string& origin) {
  const Json& single = require(processor, "single", origin);
  if (!single.is_array()) fail("{}: post-processor: \"single\" is not a list", origin);
  std::optional<TokenId> bos;
  bool seen_text = false;
  for (const Json& part : single) {
    if (part.is_object() && part.contains("Sequence")) {
      seen_text = true;
      continue;
    }
    const auto name = json_get<std::string>(require(part, "SpecialToken", origin), "id", origin);
    if (seen_text)
      fail("{}: the post-processor puts {} behind the text, which is not supported", origin, quote(name));
    if (bos) fail("{}: the post-processor puts more than one token in front, which is not supported", origin);
    const Json& ids =
        require(require(require(processor, "special_tokens", origin), name.c_str(), origin), "ids", origin);
    if (!ids.is_array() || ids.size() != 1)
      fail("{}: post-processor: {} is not one token", origin, quote(name));
    bos = parse_token_id(ids[0], name, origin);
  }
  return bos;
}

std::optional<TokenId> parse_post_processor(const Json& processor, const std::string& origin) {
  if (processor.is_null()) return std::nullopt;
  const auto type = json_get<std::string>(processor, "type", origin);
  if (type == "ByteLevel") return std::nullopt;  // offsets only
  if (type == "TemplateProcessing") return parse_template(processor, origin);
  if (type != "Sequence") fail("{}: post-processor {} is not supported", origin, quote(type));
  std::optional<TokenId> bos;
  const Json& parts = require(processor, "processors", origin);
  if (!parts.is_array()) fail("{}: post-processor: \"processors\" is not a list", origin);
  for (const Json& part : parts)
    if (const auto found = parse_post_processor(part, origin)) bos = found;
  return bos;
}

std::vector<AddedToken> parse_added_tokens(const Json& json, const std::string& origin) {
  std::vector<AddedToken> tokens;
  std::set<std::string> seen;
  if (json.is_null()) return tokens;
  if (!json.is_array()) fail("{}: added_tokens is not a list", origin);
  for (const Json& entry : json) {
    const TokenId id = parse_token_id(require(entry, "id", origin), "added token", origin);
    tokens.push_back(parse_added_token(entry, id, origin));
    if (!seen.insert(tokens.back().content).second)
      fail("{}: added token {} occurs twice", origin, quote(tokens.back().content));
  }
  return tokens;
}

}  // namespace

AddedToken parse_added_token(const Json& json, TokenId id, const std::string& origin) {
  AddedToken token;
  token.id = id;
  token.content = json_get<std::string>(json, "content", origin);
  if (token.content.empty()) fail("{}: added token {} is empty", origin, id);
  token.special = json_get_or<bool>(json, "special", false, origin);
  token.normalized = json_get_or<bool>(json, "normalized", !token.special, origin);
  token.single_word = json_get_or<bool>(json, "single_word", false, origin);
  token.strip_left = json_get_or<bool>(json, "lstrip", false, origin);
  token.strip_right = json_get_or<bool>(json, "rstrip", false, origin);
  return token;
}

BpeDefinition parse_tokenizer_json(const std::string& text, const std::string& origin) {
  const Json json = parse_json(text, origin);
  const Json& model = require(json, "model", origin);
  check_model_options(model, origin);
  BpeDefinition definition{
      .origin = origin,
      .vocabulary = Vocabulary(require(model, "vocab", origin), origin),
      .merges = parse_merges(require(model, "merges", origin), origin),
      .ignore_merges = json_get_or<bool>(model, "ignore_merges", false, origin),
      .byte_fallback = json_get_or<bool>(model, "byte_fallback", false, origin),
      .fuse_unknown = json_get_or<bool>(model, "fuse_unk", false, origin),
      .unknown = {},
      .normalizer = Normalizer(value_or_null(json, "normalizer"), origin),
      .pre_tokenizer = {},
      .added = parse_added_tokens(value_or_null(json, "added_tokens"), origin),
      .template_bos = parse_post_processor(value_or_null(json, "post_processor"), origin)};
  if (const Json& unknown = value_or_null(model, "unk_token"); !unknown.is_null())
    definition.unknown = json_get<std::string>(model, "unk_token", origin);
  if (value_or_null(json, "pre_tokenizer").is_null())
    read_character_alphabet(json, definition);
  else
    read_byte_alphabet(json, definition);
  return definition;
}

BpeDefinition parse_vocabulary_pair(const std::string& vocabulary, const std::string& merges,
                                    const std::string& tokenizer_class, bool add_prefix_space,
                                    const std::string& origin) {
  const bool gpt2 = tokenizer_class == "GPT2Tokenizer" || tokenizer_class == "GPT2TokenizerFast";
  const bool qwen2 = tokenizer_class == "Qwen2Tokenizer" || tokenizer_class == "Qwen2TokenizerFast";
  if (!gpt2 && !qwen2)
    fail(
        "{}: vocab.json and merges.txt of class {}: only GPT2Tokenizer and Qwen2Tokenizer are supported "
        "without "
        "a tokenizer.json; tokenizer_config.json must name the class",
        origin, quote(tokenizer_class));
  BpeDefinition definition{.origin = origin,
                           .vocabulary = Vocabulary(parse_json(vocabulary, origin + "/vocab.json"), origin),
                           .merges = {},
                           .unknown = {},
                           .normalizer = {},
                           .pre_tokenizer = {},
                           .added = {},
                           .template_bos = {}};
  const std::string merges_origin = origin + "/merges.txt";
  for (std::size_t at = 0; at < merges.size();) {
    const std::size_t end = std::min(merges.find('\n', at), merges.size());
    std::string_view line = std::string_view(merges).substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with("#version")) continue;
    definition.merges.push_back(split_merge(line, definition.merges.size(), merges_origin));
  }
  if (qwen2) {
    definition.normalizer = Normalizer::nfc();
    definition.pre_tokenizer.steps.push_back({SplitRegex(kQwen2Pattern, origin)});
  } else {
    definition.pre_tokenizer.steps.push_back({SplitRegex(kGpt2Pattern, origin)});
    definition.pre_tokenizer.add_prefix_space = add_prefix_space;
  }
  return definition;
}

}  // namespace assay
