#pragma once
// The merge rules of byte-pair encoding, applied to token ids: the pair of lowest rank is joined first, the
// leftmost of equal ones before the others (Sennrich et al. 2016, with the priority queue of sentencepiece: n
// log n).
#include <cstdint>
#include <optional>
#include <vector>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

class BpeMerges {
 public:
  /// Rules for at most this many pairs will be added.
  explicit BpeMerges(std::size_t capacity);

  /// The next rule, of lower priority than all before. A pair that has a rule already gets this one instead.
  void add(TokenId left, TokenId right, TokenId merged);

  /// Joins neighbours until no rule applies.
  void apply(std::vector<TokenId>& word) const;

 private:
  struct Rule {
    std::uint64_t pair = kNoPair;
    std::uint32_t rank = 0;
    TokenId merged = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  std::size_t slot_of(std::uint64_t pair) const;
  const Rule* find(TokenId left, TokenId right) const;
  void apply_scanning(std::vector<TokenId>& word) const;
  void apply_queueing(std::vector<TokenId>& word) const;

  std::vector<Rule> rules_;  // open addressing, at most half full
  std::uint32_t count_ = 0;
};

}  // namespace assay
