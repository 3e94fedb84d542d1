#pragma once
// The normalizer of tokenizer.json: what is done to the text before it is cut.
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"
#include "assay/tokenizer/text_budget.h"

namespace assay {

class Normalizer {
 public:
  Normalizer() = default;
  /// Reads the "normalizer" value: null, NFC, Prepend, Replace of a String, and Sequences of them. Throws
  /// Error for other kinds, naming them.
  Normalizer(const Json& json, const std::string& origin);
  static Normalizer nfc();

  bool empty() const { return steps_.empty(); }
  /// Only canonical composition, or nothing: what byte-level tokenizers use.
  bool keeps_spaces() const;
  /// Normalizes valid UTF-8. Throws Error where the result, or what lies between, is more than the budget has
  /// left.
  std::string apply(std::string_view text, TextBudget& budget) const;

 private:
  enum class Kind { nfc, prepend, replace };
  struct Step {
    Kind kind = Kind::nfc;
    std::string pattern, content;
  };
  void add(const Json& json, const std::string& origin);

  std::vector<Step> steps_;
};

}  // namespace assay
