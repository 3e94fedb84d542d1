#include "assay/storage/gguf_pre_tokenizers.h"

#include <array>

namespace assay {
namespace {

constexpr std::array kPreTokenizers = {
    GgufPreTokenizer{"gpt-2", "", false, false, false, false},
    GgufPreTokenizer{"smollm", "", true, false, false, false},
    GgufPreTokenizer{
        "qwen2",
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
        R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
        false, true, false, false},
    GgufPreTokenizer{
        "llama-bpe",
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
        R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
        false, false, true, true},
};

/// The steps of a pre-tokenizer one after the other, each with what it leaves open filled in and without what
/// only concerns offsets. Null for what is none.
Json plain_steps(const Json& step) {
  if (!step.is_object()) return nullptr;
  Json steps = Json::array();
  if (step.value("type", Json()) == "Sequence") {
    if (!step.contains("pretokenizers") || !step["pretokenizers"].is_array()) return nullptr;
    for (const Json& part : step["pretokenizers"]) {
      const Json parts = plain_steps(part);
      if (!parts.is_array()) return nullptr;
      steps.insert(steps.end(), parts.begin(), parts.end());
    }
    return steps;
  }
  Json plain = step;
  plain.erase("trim_offsets");
  if (plain.value("type", Json()) == "ByteLevel")
    for (const char* key : {"add_prefix_space", "use_regex"})
      if (!plain.contains(key)) plain[key] = true;
  if (plain.value("type", Json()) == "Split" && !plain.contains("invert")) plain["invert"] = false;
  steps.push_back(std::move(plain));
  return steps;
}

bool same_steps(const Json& tokenizer, const GgufPreTokenizer& kind) {
  const Json steps = plain_steps(tokenizer.value("pre_tokenizer", Json()));
  return steps.is_array() && steps == plain_steps(Json::parse(pre_tokenizer_json(kind).dump()));
}

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const GgufPreTokenizer& kind : kPreTokenizers)
    if (kind.name == name) return &kind;
  return nullptr;
}

const GgufPreTokenizer* gguf_pre_tokenizer_of(const Json& tokenizer) {
  const Json normalizer = tokenizer.value("normalizer", Json());
  const Json whole_words = tokenizer.value("model", Json::object()).value("ignore_merges", Json(false));
  for (const GgufPreTokenizer& kind : kPreTokenizers)
    if (same_steps(tokenizer, kind) && normalizer == Json::parse(normalizer_json(kind).dump()) &&
        whole_words == kind.whole_words)
      return &kind;
  return nullptr;
}

std::string gguf_pre_tokenizer_names() {
  std::string names;
  for (const GgufPreTokenizer& kind : kPreTokenizers)
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  return names;
}

OrderedJson normalizer_json(const GgufPreTokenizer& kind) {
  return kind.nfc ? OrderedJson{{"type", "NFC"}} : OrderedJson(nullptr);
}

OrderedJson pre_tokenizer_json(const GgufPreTokenizer& kind) {
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

}  // namespace assay
