#pragma once
// The texts that a model, a recipe or a file of sensitivities was made on, as they are written down beside
// it, and the guard that keeps them apart from the text that is measured.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/recipes/text_fingerprint.h"
#include "assay/storage/checkpoint.h"

namespace assay {

struct TextRecord {
  std::string purpose;  // "calibration", "allocation", "routing"
  std::string path;     // as given; "self": sampled from the model
  std::string sha256;   // of the whole text
  std::uint64_t tokens = 0;
  std::string tokenizer;  // tokenizer_identity() of what made tokens of it; "" in records of old manifests
  TextFingerprint fingerprint;
  std::vector<std::string> shingles;  // of old manifests, in place of the fingerprint: see texts_of()

  bool operator==(const TextRecord&) const = default;
  OrderedJson to_json() const;
  static TextRecord from_json(const Json& json, const std::string& origin);
};
using TextRecords = std::vector<TextRecord>;

OrderedJson texts_to_json(const TextRecords& texts);
/// From a list. Throws Error.
TextRecords texts_from_json(const Json& list, const std::string& origin);
/// Adds those that are not there yet.
void add_texts(TextRecords& texts, const TextRecords& more);

/// What the model's manifest says it and its ancestors were made on ("texts"). Manifests of older versions
/// hold one 64-token shingle in 64 of the calibration text; they go on being honoured as they are.
TextRecords texts_of(const Checkpoint& checkpoint);

/// Tokenizers that give one text other ids differ here: a hash of the ids of a fixed sentence.
std::string tokenizer_identity(const Tokenizer& tokenizer);

/// Throws Error naming purpose and text when one of the texts shares 64 consecutive tokens with `measured`
/// (see TextFingerprint), or was read with another tokenizer, so that nobody can tell.
void refuse_overlap(std::span<const TextRecord> texts, std::span<const TokenId> measured,
                    const std::string& label, const std::string& tokenizer);

}  // namespace assay
