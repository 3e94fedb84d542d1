#pragma once
// A compiled split pattern: PCRE2 in UTF and UCP mode, with its just-in-time compiler where there is one.
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "assay/tokenizer/text_budget.h"

namespace assay {

struct TextSpan {
  std::size_t begin = 0, end = 0;  // bytes
};

class SplitRegex {
 public:
  /// The pattern as tokenizer.json writes it (Oniguruma). Throws Error for one that cannot be compiled, may
  /// mean something else here, or matches the empty string.
  SplitRegex(const std::string& pattern, const std::string& origin);

  /// All matches, left to right, in valid UTF-8. Throws Error when a match backtracks beyond the engine's
  /// limits, or all of them use up the budget's time.
  std::vector<TextSpan> find_all(std::string_view text, TextBudget& budget) const;

 private:
  std::shared_ptr<const void> code_;
  std::string description_;  // opens messages
};

}  // namespace assay
