#include "assay/tokenizer/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <queue>

namespace assay {
namespace {

constexpr std::size_t kLongWord = 24;  // beyond this many symbols a queue beats rescanning

std::uint64_t pair_of(TokenId left, TokenId right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
}

}  // namespace

BpeMerges::BpeMerges(std::size_t capacity) : rules_(std::bit_ceil(2 * capacity + 1)) {}

std::size_t BpeMerges::slot_of(std::uint64_t pair) const {
  std::size_t slot = static_cast<std::size_t>((pair * 0x9E3779B97F4A7C15u) >> 20) & (rules_.size() - 1);
  while (rules_[slot].pair != kNoPair && rules_[slot].pair != pair) slot = (slot + 1) & (rules_.size() - 1);
  return slot;
}

void BpeMerges::add(TokenId left, TokenId right, TokenId merged) {
  assert(2 * std::size_t{count_} < rules_.size());
  const std::uint64_t pair = pair_of(left, right);
  rules_[slot_of(pair)] = {pair, count_++, merged};
}

const BpeMerges::Rule* BpeMerges::find(TokenId left, TokenId right) const {
  const Rule& rule = rules_[slot_of(pair_of(left, right))];
  return rule.pair == kNoPair ? nullptr : &rule;
}

void BpeMerges::apply(std::vector<TokenId>& word) const {
  if (word.size() <= kLongWord)
    apply_scanning(word);
  else
    apply_queueing(word);
}

void BpeMerges::apply_scanning(std::vector<TokenId>& word) const {
  while (word.size() > 1) {
    const Rule* best = nullptr;
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const Rule* rule = find(word[i], word[i + 1]);
      if (rule != nullptr && (best == nullptr || rule->rank < best->rank)) {
        best = rule;
        best_at = i;
      }
    }
    if (best == nullptr) return;
    word[best_at] = best->merged;
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

void BpeMerges::apply_queueing(std::vector<TokenId>& word) const {
  constexpr std::size_t kNone = ~std::size_t{0};
  struct Symbol {
    TokenId id;
    std::size_t previous, next;
    bool alive;
  };
  struct Candidate {
    std::uint32_t rank;
    std::size_t at;
    std::uint64_t pair;  // as it was when queued: a candidate is stale once either side has changed
    TokenId merged;
    bool operator<(const Candidate& other) const {  // the queue's top is its greatest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };

  std::vector<Symbol> symbols(word.size());
  for (std::size_t i = 0; i < word.size(); ++i)
    symbols[i] = {word[i], i == 0 ? kNone : i - 1, i + 1 == word.size() ? kNone : i + 1, true};
  std::priority_queue<Candidate> queue;
  const auto consider = [&](std::size_t at) {
    if (at == kNone || symbols[at].next == kNone) return;
    const TokenId left = symbols[at].id, right = symbols[symbols[at].next].id;
    if (const Rule* rule = find(left, right)) queue.push({rule->rank, at, rule->pair, rule->merged});
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) consider(i);

  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.at];
    if (!left.alive || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    if (pair_of(left.id, right.id) != top.pair) continue;
    left.id = top.merged;
    right.alive = false;
    left.next = right.next;
    if (right.next != kNone) symbols[right.next].previous = top.at;
    consider(left.previous);
    consider(top.at);
  }

  word.clear();
  for (std::size_t at = 0; at != kNone; at = symbols[at].next) word.push_back(symbols[at].id);
}

}  // namespace assay
