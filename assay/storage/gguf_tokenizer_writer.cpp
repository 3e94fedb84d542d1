#include "assay/storage/gguf_tokenizer_writer.h"

#include <algorithm>
#include <array>

#include "assay/base/error.h"
#include "assay/base/quote.h"

namespace assay {
namespace {

constexpr float kScoreOfAddedToken = -1000;  // below that of every piece; such tokens are never merged

Json parse_sidecar(const Sidecars& files, const char* name, const std::string& path) {
  const auto file = files.find(name);
  if (file == files.end()) return Json::object();
  Json json = parse_json(file->second, path + ": " + name);
  if (!json.is_object()) fail("{}: {} is no JSON object", path, name);
  return json;
}

/// A special token is a string, or an object with its content.
std::optional<std::string> token_content(const Json& value, const std::string& path) {
  if (value.is_null()) return std::nullopt;
  return value.is_string() ? value.get<std::string>() : json_get<std::string>(value, "content", path);
}

std::optional<std::string> named_token(const Json& settings, const char* key, const std::string& path) {
  return settings.contains(key) ? token_content(settings[key], path) : std::nullopt;
}

std::uint64_t parse_id(const std::string& text, const std::string& path) {
  const bool digits = !text.empty() && text.size() < 10 &&
                      std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) fail("{}: added_tokens_decoder: key {} is no token id", path, quote(text));
  return std::stoull(text);
}

/// Tokens that a folder's other files call added or special.
void add_named_tokens(const Sidecars& files, const Json& settings, GgufTokenTable& table,
                      const std::string& path) {
  const Json decoder = settings.value("added_tokens_decoder", Json::object());
  for (const auto& [id, token] : decoder.items()) {
    refuse_conditions(token, path);
    table.add_found(json_get<std::string>(token, "content", path), parse_id(id, path),
                    json_get_or<bool>(token, "special", false, path));
  }
  std::vector<std::string> special;
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"})
    if (const auto token = named_token(settings, key, path)) special.push_back(*token);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
    if (settings.contains(key))
      for (const Json& entry : settings[key])
        if (const auto token = token_content(entry, path)) special.push_back(*token);
  const Json added = parse_sidecar(files, "added_tokens.json", path);
  for (const auto& [token, id] : added.items()) {
    if (!id.is_number_unsigned()) fail("{}: added_tokens.json: token {} has no id", path, quote(token));
    table.add_found(token, id.get<std::uint64_t>(), std::ranges::find(special, token) != special.end());
  }
  for (const std::string& token : special)
    if (!token.empty()) table.mark_special(token);
}

std::string chat_template(const Sidecars& files, const Json& settings, const std::string& path) {
  if (const auto file = files.find("chat_template.jinja"); file != files.end()) return file->second;
  const Json value = settings.value("chat_template", Json());
  if (value.is_null()) return {};
  if (value.is_string()) return value.get<std::string>();
  for (const Json& entry : value)
    if (json_get<std::string>(entry, "name", path) == "default")
      return json_get<std::string>(entry, "template", path);
  fail("{}: chat_template is a list in which none is named \"default\"", path);
}

/// Every id that ends a text, the one that the tokenizer calls so first.
std::vector<std::uint64_t> end_tokens(const Json& config, const std::optional<std::uint64_t>& named,
                                      const std::string& path) {
  std::vector<std::uint64_t> ends;
  const Json ids = config.value("eos_token_id", Json::array());
  for (const Json& id : ids.is_array() ? ids : Json::array({ids})) {
    if (!id.is_number_integer() || id < 0) fail("{}: eos_token_id {} is no token id", path, id.dump());
    ends.push_back(id.get<std::uint64_t>());
  }
  const auto at = named ? std::ranges::find(ends, *named) : ends.end();
  if (at != ends.end()) std::rotate(ends.begin(), at, at + 1);
  if (ends.empty())
    fail(
        "{}: no eos_token_id: llama.cpp would take a token of its own for the end; name it in "
        "generation_config.json",
        path);
  return ends;
}

void write_special_tokens(const Json& settings, const Json& config, const std::string& jinja,
                          const GgufTextStart& start, const GgufTokenTable& table, GgufHeader& header) {
  const std::string& path = header.path();
  const auto id_of = [&](const char* key) {
    const auto token = named_token(settings, key, path);
    return token ? table.find(*token) : std::nullopt;
  };
  const auto named_bos = id_of("bos_token"), named_eos = id_of("eos_token");
  if (start.bos && named_bos && *start.bos != *named_bos)
    fail("{}: texts begin with token {} by tokenizer.json, bos_token is {}: GGUF has one for both", path,
         *start.bos, *named_bos);
  const auto bos = start.bos ? start.bos : named_bos;
  const bool adds_bos = json_get_or<bool>(settings, "add_bos_token", start.adds_bos, path);
  if (adds_bos && !bos) fail("{}: every text begins with a token that no file names (bos_token)", path);
  if (json_get_or<bool>(settings, "add_eos_token", false, path))
    fail("{}: add_eos_token is true; a token behind every text is not supported", path);

  const std::vector<std::uint64_t> ends = end_tokens(config, named_eos, path);
  constexpr std::array kEndKeys = {"eos", "eot", "eom"};
  if (ends.size() > kEndKeys.size())
    fail("{}: {} tokens end a text, GGUF can name {}", path, ends.size(), kEndKeys.size());
  if (named_eos && *named_eos != ends.front() && jinja.find("eos_token") != std::string::npos)
    fail(
        "{}: the chat template writes eos_token, which is none of those that end a text: GGUF has one for "
        "both",
        path);
  const auto write_id = [&](const std::string& name, const std::optional<std::uint64_t>& id) {
    if (id) header.integer("tokenizer.ggml." + name + "_token_id", *id);
  };
  write_id("bos", bos);
  for (std::size_t i = 0; i < ends.size(); ++i) write_id(kEndKeys[i], ends[i]);
  write_id("unknown", id_of("unk_token"));
  write_id("padding", id_of("pad_token"));
  header.boolean("tokenizer.ggml.add_bos_token", adds_bos);
  header.boolean("tokenizer.ggml.add_eos_token", false);
  if (!jinja.empty()) header.text("tokenizer.chat_template", jinja);
}

/// tokenizer.json of the same pieces: Llama 2 and its kin.
void check_same_pieces(const Json& tokenizer, const GgufTokenTable& table, const std::string& path) {
  const Json vocabulary = tokenizer.at("model").value("vocab", Json());
  if (!vocabulary.is_object()) fail("{}: tokenizer.json: the vocabulary is no object of token and id", path);
  for (const auto& [token, id] : vocabulary.items())
    if (const auto found = table.find(token); !found || id != *found)
      fail("{}: token {} is {} in tokenizer.json, {} in tokenizer.model", path, quote(token), id.dump(),
           found ? std::to_string(*found) : "none");
}

/// Sets the keys of tokenizer.model, and of tokenizer.json where it says the same.
GgufTextStart write_pieces(const Sidecars& files, Json& settings, const Json& tokenizer,
                           GgufTokenTable& table, std::vector<float>& scores, GgufHeader& header) {
  const std::string& path = header.path();
  if (!files.contains("tokenizer.model"))
    fail("{}: {}", path,
         tokenizer.empty()
             ? "no tokenizer.json and no tokenizer.model: one of them is needed for GGUF"
             : "tokenizer.json has no pre-tokenizer: GGUF needs the tokenizer.model that it was "
               "made from, which is missing");
  scores = write_gguf_sentencepiece(files.at("tokenizer.model"), table, header);
  if (!tokenizer.empty()) {
    check_same_pieces(tokenizer, table, path);
  } else if (!json_get_or<bool>(settings, "legacy", true, path)) {
    fail(
        "{}: tokenizer_config.json: legacy is false: llama.cpp puts a space in front of the text behind a "
        "special token",
        path);
  }
  // What transformers takes these to be where nothing is said.
  for (const auto& [key, token] :
       {std::pair{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}})
    if (!settings.contains(key) && table.find(token)) settings[key] = token;
  const auto type = json_get_or<std::string>(settings, "tokenizer_class", "", path);
  return {std::nullopt, type.starts_with("LlamaTokenizer")};
}

}  // namespace

void GgufTokenTable::add(std::string_view token, std::uint64_t id, GgufTokenType type) {
  if (id >= tokens_.size())
    fail("{}: token {} has id {}, the model's vocabulary has {}", path_, quote(token), id, tokens_.size());
  const auto [known, is_new] = ids_.emplace(token, id);
  if (!is_new && known->second != id)
    fail("{}: token {} has the ids {} and {}", path_, quote(token), known->second, id);
  if (types_[id] != 0 && tokens_[id] != token)
    fail("{}: tokens {} and {} have the same id {}", path_, quote(tokens_[id]), quote(token), id);
  tokens_[id] = token;
  types_[id] = static_cast<std::int32_t>(type);
}

void GgufTokenTable::add_found(std::string_view token, std::uint64_t id, bool special) {
  const bool decided = id < types_.size() && tokens_[id] == token && types_[id] != 0 &&
                       types_[id] != static_cast<std::int32_t>(GgufTokenType::normal);
  if (!decided) add(token, id, special ? GgufTokenType::control : GgufTokenType::user_defined);
}

void GgufTokenTable::mark_special(std::string_view token) {
  const auto id = find(token);
  if (!id) fail("{}: special token {} is not in the vocabulary", path_, quote(token));
  add_found(token, *id, true);
}

void GgufTokenTable::fill() {
  for (std::size_t id = 0; id < tokens_.size(); ++id)
    if (types_[id] == 0) add(gguf_filler(id), id, GgufTokenType::unused);
}

std::optional<std::uint64_t> GgufTokenTable::find(std::string_view token) const {
  const auto found = ids_.find(std::string(token));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

void write_gguf_tokenizer(const Sidecars& files, const Json& config, GgufHeader& header) {
  const std::string& path = header.path();
  GgufTokenTable table(json_get<std::uint64_t>(config, "vocab_size", path), path);
  Json settings = parse_sidecar(files, "tokenizer_config.json", path);
  const Json tokenizer = parse_sidecar(files, "tokenizer.json", path);
  if (!tokenizer.empty() && !tokenizer.value("model", Json()).is_object())
    fail("{}: tokenizer.json: \"model\" is no object", path);
  const bool byte_level = !tokenizer.value("pre_tokenizer", Json()).is_null();
  std::vector<float> scores;
  const GgufTextStart start = byte_level ? write_gguf_bpe(tokenizer, table, header)
                                         : write_pieces(files, settings, tokenizer, table, scores, header);
  add_named_tokens(files, settings, table, path);
  table.fill();
  header.texts("tokenizer.ggml.tokens", table.tokens());
  header.integers("tokenizer.ggml.token_type", table.types());
  if (!byte_level) {
    scores.resize(table.tokens().size(), kScoreOfAddedToken);
    header.floats("tokenizer.ggml.scores", scores);
  }
  write_special_tokens(settings, config, chat_template(files, settings, path), start, table, header);
}

}  // namespace assay
