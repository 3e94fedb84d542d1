#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/storage/gguf_pre_tokenizers.h"
#include "assay/storage/gguf_tokenizer_writer.h"

namespace assay {
namespace {

const GgufPreTokenizer& pre_tokenizer_of(const Json& tokenizer, const std::string& path) {
  if (const GgufPreTokenizer* kind = gguf_pre_tokenizer_of(tokenizer)) return *kind;
  const auto shown = [&](const Json& value) {
    return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 300);
  };
  fail(
      "{}: tokenizer.json cuts text in a way that has no name in GGUF ({} have): normalizer {}, "
      "pre_tokenizer {}, "
      "ignore_merges {}; choose another container",
      path, gguf_pre_tokenizer_names(), shown(tokenizer.value("normalizer", Json())),
      shown(tokenizer.value("pre_tokenizer", Json())),
      shown(tokenizer.at("model").value("ignore_merges", Json(false))));
}

/// Options of the model that llama.cpp does not have.
void refuse_model_options(const Json& model, const std::string& path) {
  const auto type = json_get_or<std::string>(model, "type", "BPE", path);
  if (type != "BPE") fail("{}: tokenizer.json: model {}, BPE expected", path, quote(type));
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json_get_or<std::string>(model, affix, "", path).empty())
      fail("{}: tokenizer.json: the BPE option {} cannot be said in GGUF", path, affix);
  if (json_get_or<double>(model, "dropout", 0, path) != 0 ||
      json_get_or<bool>(model, "byte_fallback", false, path))
    fail("{}: tokenizer.json: BPE with dropout or byte_fallback cannot be said in GGUF", path);
}

/// "left right" each: spellings of bytes hold no spaces.
std::vector<std::string> merges_of(const Json& model, const std::string& path) {
  const auto list = model.find("merges");
  if (list == model.end() || !list->is_array()) fail("{}: tokenizer.json: merges are not a list", path);
  std::vector<std::string> merges;
  merges.reserve(list->size());
  for (const Json& merge : *list) {
    const bool pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (!pair && !merge.is_string())
      fail("{}: tokenizer.json: merge {} is neither a string nor a pair of strings", path, merges.size());
    std::string text =
        pair ? merge[0].get<std::string>() + " " + merge[1].get<std::string>() : merge.get<std::string>();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == text.size() ||
        text.find(' ', space + 1) != std::string::npos)
      fail("{}: tokenizer.json: merge {} is {}, two tokens without spaces expected", path, merges.size(),
           quote(text));
    merges.push_back(std::move(text));
  }
  return merges;
}

/// The token that a post-processor puts in front of every text.
std::optional<std::uint64_t> template_token(const Json& processor, const std::string& path) {
  if (!processor.is_object()) return std::nullopt;
  std::optional<std::uint64_t> token;
  const Json type = processor.value("type", Json());
  if (type == "Sequence")
    for (const Json& part : processor.value("processors", Json::array()))
      if (const auto found = template_token(part, path)) token = found;
  if (type != "TemplateProcessing") return token;
  const Json single = processor.value("single", Json::array());
  const bool sound = single.is_array() && !single.empty() && single.size() <= 2 &&
                     single.back().is_object() && single.back().contains("Sequence");
  if (!sound)
    fail("{}: tokenizer.json: the post-processor does more than put one token in front of a text", path);
  if (single.size() == 1) return token;
  const Json& special = single.front().is_object() ? single.front().value("SpecialToken", Json()) : Json();
  const auto name = json_get<std::string>(special, "id", path);
  const Json* ids = &processor;
  for (const std::string& key : {std::string("special_tokens"), name, std::string("ids")})
    if (ids != nullptr) ids = ids->is_object() && ids->contains(key) ? &ids->at(key) : nullptr;
  if (ids == nullptr || !ids->is_array() || ids->size() != 1 || !ids->front().is_number_unsigned())
    fail("{}: tokenizer.json: the post-processor's {} is not one token", path, quote(name));
  return ids->front().get<std::uint64_t>();
}

}  // namespace

void refuse_conditions(const Json& added_token, const std::string& path) {
  for (const char* condition : {"single_word", "lstrip", "rstrip"})
    if (json_get_or<bool>(added_token, condition, false, path))
      fail("{}: added token {} has the condition {}, which cannot be said in GGUF", path,
           quote(json_get_or<std::string>(added_token, "content", "", path)), condition);
}

GgufTextStart write_gguf_bpe(const Json& tokenizer, GgufTokenTable& table, GgufHeader& header) {
  const std::string& path = header.path();
  const Json& model = tokenizer.at("model");
  refuse_model_options(model, path);
  const GgufPreTokenizer& kind = pre_tokenizer_of(tokenizer, path);
  const auto vocabulary = model.find("vocab");
  if (vocabulary == model.end() || !vocabulary->is_object())
    fail("{}: tokenizer.json: the vocabulary is no object of token and id", path);
  for (const auto& [token, id] : vocabulary->items()) {
    if (!id.is_number_unsigned()) fail("{}: tokenizer.json: token {} has no id", path, quote(token));
    table.add(token, id.get<std::uint64_t>(), GgufTokenType::normal);
  }
  for (const Json& added : tokenizer.value("added_tokens", Json::array())) {
    refuse_conditions(added, path);
    const bool special = json_get_or<bool>(added, "special", false, path);
    const auto content = json_get<std::string>(added, "content", path);
    if (kind.nfc && json_get_or<bool>(added, "normalized", !special, path))
      fail("{}: added token {} is looked for in normalised text, which cannot be said in GGUF", path,
           quote(content));
    table.add_found(content, json_get<std::uint64_t>(added, "id", path), special);
  }
  header.text("tokenizer.ggml.model", "gpt2");
  header.text("tokenizer.ggml.pre", kind.name);
  header.texts("tokenizer.ggml.merges", merges_of(model, path));
  const auto bos = template_token(tokenizer.value("post_processor", Json()), path);
  return {bos, bos.has_value()};
}

}  // namespace assay
