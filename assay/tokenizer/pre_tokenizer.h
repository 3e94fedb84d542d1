#pragma once
// Cuts text into the words within which byte-pair encoding merges: the pre_tokenizer of tokenizer.json.
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"
#include "assay/tokenizer/split_regex.h"

namespace assay {

/// The pattern of GPT-2, which a ByteLevel pre-tokenizer applies by default.
extern const std::string kGpt2Pattern;

/// What becomes of the matches of a split pattern.
enum class SplitBehavior { isolated, removed, contiguous, merged_with_previous, merged_with_next };

/// One step of pre-tokenization: cuts every word of the step before.
struct SplitStep {
  SplitRegex regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // the stretches between matches play the part of the matches
};

struct PreTokenizer {
  std::vector<SplitStep> steps;
  std::size_t prefix_step = 0;    // the step before which a space is put in front of words that lack one ...
  bool add_prefix_space = false;  // ... if at all

  /// Words of valid UTF-8, none empty. `storage` keeps those alive that are not part of the text.
  std::vector<std::string_view> split(std::string_view text, std::deque<std::string>& storage,
                                      TextBudget& budget) const;
};

/// Reads the "pre_tokenizer" value: Split, Digits, ByteLevel and Sequences of them, ByteLevel last. Throws
/// Error for other kinds, naming them.
PreTokenizer parse_pre_tokenizer(const Json& json, const std::string& origin);

}  // namespace assay
