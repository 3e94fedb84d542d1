#include "assay/recipes/text_record.h"

#include <algorithm>
#include <array>
#include <unordered_set>

#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "assay/base/file.h"

namespace assay {
namespace {

// Of old manifests.
constexpr std::size_t kShingle = 64;
constexpr std::uint64_t kShingleShare = 64;  // one in so many was written down

constexpr std::array kPurposes = {"calibration", "allocation", "routing"};

std::vector<std::string> recorded_strings(const Json& json, const char* key, const std::string& origin) {
  std::vector<std::string> list;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array()) fail("{}: a list \"{}\" expected", origin, key);
  for (const Json& item : *found) {
    if (!item.is_string()) fail("{}: \"{}\" holds something that is no text", origin, key);
    list.push_back(item.get<std::string>());
  }
  return list;
}

std::size_t count_shared(const TextRecord& text, std::span<const TokenId> tokens) {
  if (text.shingles.empty()) return text.fingerprint.count_shared(tokens);
  const std::unordered_set<std::string> known(text.shingles.begin(), text.shingles.end());
  return static_cast<std::size_t>(
      std::ranges::count_if(run_hashes(tokens, kShingle), [&](const std::uint64_t hash) {
        return hash % kShingleShare == 0 && known.contains(fmt::format("{:016x}", hash));
      }));
}

}  // namespace

OrderedJson TextRecord::to_json() const {
  OrderedJson json = {{"purpose", purpose}, {"path", path}, {"sha256", sha256}, {"tokens", tokens}};
  if (!shingles.empty()) {
    json["shingles"] = shingles;
  } else {
    json["tokenizer"] = tokenizer;
    json["fingerprint"] = fingerprint.to_base64();
  }
  return sealed(std::move(json));
}

TextRecord TextRecord::from_json(const Json& json, const std::string& origin) {
  if (!json.is_object()) fail("{}: found {}, an object expected", origin, json.type_name());
  require_seal(json, origin);
  TextRecord text;
  text.purpose = json_get<std::string>(json, "purpose", origin);
  if (std::ranges::find(kPurposes, text.purpose) == kPurposes.end())
    fail("{}: purpose {}; calibration, allocation or routing expected", origin, Json(text.purpose).dump());
  text.path = json_get<std::string>(json, "path", origin);
  text.sha256 = json_get<std::string>(json, "sha256", origin);
  text.tokens = json_get<std::uint64_t>(json, "tokens", origin);
  if (json.contains("shingles")) {
    text.shingles = recorded_strings(json, "shingles", origin);
  } else {
    text.tokenizer = json_get<std::string>(json, "tokenizer", origin);
    text.fingerprint =
        TextFingerprint::from_base64(json_get<std::string>(json, "fingerprint", origin), origin);
  }
  return text;
}

OrderedJson texts_to_json(const TextRecords& texts) {
  OrderedJson list = OrderedJson::array();
  for (const TextRecord& text : texts) list.push_back(text.to_json());
  return list;
}

TextRecords texts_from_json(const Json& list, const std::string& origin) {
  if (!list.is_array()) fail("{}: \"texts\" is {}, a list expected", origin, list.type_name());
  TextRecords texts;
  for (std::size_t i = 0; i < list.size(); ++i)
    texts.push_back(TextRecord::from_json(list[i], fmt::format("{}: text {}", origin, i)));
  return texts;
}

void add_texts(TextRecords& texts, const TextRecords& more) {
  for (const TextRecord& text : more)
    if (std::ranges::find(texts, text) == texts.end()) texts.push_back(text);
}

TextRecords texts_of(const Checkpoint& checkpoint) {
  TextRecords texts;
  if (!checkpoint.manifest) return texts;
  const std::string path = checkpoint.path + "/assay.json";
  const auto listed = checkpoint.manifest->find("texts");
  if (listed != checkpoint.manifest->end()) texts = texts_from_json(*listed, path);
  const auto calibration = checkpoint.manifest->find("calibration");
  if (calibration == checkpoint.manifest->end()) return texts;
  const std::string origin = path + ": calibration";
  if (!calibration->is_object() ||
      (!calibration->contains("shingles") && listed == checkpoint.manifest->end()))
    fail("{}: a list \"shingles\" expected, or \"texts\" beside it", origin);
  if (!calibration->contains("shingles")) return texts;
  TextRecord old;
  old.purpose = "calibration";
  old.path = json_get<std::string>(*calibration, "text", origin);
  old.sha256 = json_get_or<std::string>(*calibration, "text_sha256", "", origin);
  old.tokens = json_get_or<std::uint64_t>(*calibration, "tokens", 0, origin);
  old.shingles = recorded_strings(*calibration, "shingles", origin);
  add_texts(texts, {std::move(old)});
  return texts;
}

std::string tokenizer_identity(const Tokenizer& tokenizer) {
  const std::vector<TokenId> ids = tokenizer.encode(
      "The 13 quick brown foxes jumped over 2.75 lazy dogs; \"naïve\" café, Größe:\n"
      "\tfor (int i = 0; i < n; ++i) { sum += values[i]; }\n东京 Привет, мир! don't  stop\n");
  return sha256_hex(std::as_bytes(std::span(ids))).substr(0, 32);
}

void refuse_overlap(std::span<const TextRecord> texts, std::span<const TokenId> measured,
                    const std::string& label, const std::string& tokenizer) {
  for (const TextRecord& text : texts) {
    if (!text.tokenizer.empty() && text.tokenizer != tokenizer)
      fail(
          "{}: whether it overlaps with the {} text {} cannot be told, which another tokenizer read: a model "
          "must not be measured on what it was made on",
          label, text.purpose, text.path);
    if (const std::size_t shared = count_shared(text, measured); shared > 0)
      fail(
          "{}: shares {} runs of {} tokens or more with the {} text {}: a model must not be measured on what "
          "it was made on",
          label, shared, TextFingerprint::kRun, text.purpose, text.path);
  }
}

}  // namespace assay
