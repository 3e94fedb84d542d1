#include "assay/tokenizer/bpe_merges.h"

#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <random>

namespace assay {
namespace {

using Ids = std::vector<TokenId>;

/// The definition, word for word: find the pair of lowest rank, the leftmost of equal ones, join it, start
/// again.
Ids merge_naively(Ids word, const std::map<std::pair<TokenId, TokenId>, std::pair<int, TokenId>>& rules) {
  for (;;) {
    std::size_t best = word.size();
    int best_rank = 0;
    for (std::size_t i = 0; i + 1 < word.size(); ++i) {
      const auto rule = rules.find({word[i], word[i + 1]});
      if (rule == rules.end() || (best != word.size() && rule->second.first >= best_rank)) continue;
      best = i;
      best_rank = rule->second.first;
    }
    if (best == word.size()) return word;
    word[best] = rules.at({word[best], word[best + 1]}).second;
    word.erase(word.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(BpeMerges, RandomRulesAndWordsAgreeWithTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    // Tokens stand for strings over two or three letters, as in a real vocabulary: a merge's result is the
    // concatenation, so that different pairs may give the same token.
    const int letters = 2 + round % 2;
    std::map<std::string, TokenId> ids;
    std::vector<std::string> tokens;
    const auto id_of = [&](const std::string& token) {
      const auto [found, added] = ids.try_emplace(token, static_cast<TokenId>(tokens.size()));
      if (added) tokens.push_back(token);
      return found->second;
    };
    for (int letter = 0; letter < letters; ++letter) id_of(std::string(1, static_cast<char>('a' + letter)));
    std::map<std::pair<TokenId, TokenId>, std::pair<int, TokenId>> rules;
    BpeMerges merges(12);
    for (int rank = 0; rank < 12; ++rank) {
      const auto pick = [&] { return static_cast<TokenId>(random() % tokens.size()); };
      const TokenId left = pick(), right = pick();
      const TokenId merged =
          id_of(tokens[static_cast<std::size_t>(left)] + tokens[static_cast<std::size_t>(right)]);
      merges.add(left, right, merged);
      rules[{left, right}] = {rank, merged};
    }
    for (std::size_t length = 0; length < 80; length += 1 + random() % 7) {
      Ids word(length);
      for (TokenId& id : word) id = static_cast<TokenId>(random() % static_cast<unsigned>(letters));
      Ids merged = word;
      merges.apply(merged);
      ASSERT_EQ(merged, merge_naively(word, rules)) << "round " << round << ", length " << length;
    }
  }
}

TEST(BpeMerges, ALongWordTakesNoQuadraticTime) {
  BpeMerges merges(17);
  for (TokenId id = 0; id < 17; ++id) merges.add(id, id, id + 1);  // a a -> A, A A -> B, ...
  Ids word(std::size_t{1} << 17, 0);
  const std::clock_t start = std::clock();  // processor time: the machine may be busy
  merges.apply(word);
  EXPECT_EQ(word, Ids{17});
  // A quadratic algorithm would need minutes.
  EXPECT_LT(std::clock() - start, 5 * CLOCKS_PER_SEC);
}

}  // namespace
}  // namespace assay
