// What repeated text counts for.
#include "assay/calibration/distinct_share.h"

#include <gtest/gtest.h>

#include <random>

namespace assay::test {
namespace {

using Windows = std::vector<std::vector<TokenId>>;

std::vector<TokenId> random_window(unsigned seed, std::size_t tokens = 64) {
  std::mt19937 random(seed);
  std::vector<TokenId> window(tokens);
  for (TokenId& token : window) token = static_cast<TokenId>(random() % 5000);
  return window;
}

TEST(DistinctShare, WhatIsNewCounts) {
  EXPECT_EQ(distinct_share(Windows{}), 1);
  EXPECT_EQ(distinct_share(Windows{random_window(1), random_window(2)}), 1);
}

TEST(DistinctShare, OneTokenCountsOnceWithEachStartOfAWindow) {
  // Four contexts at a window's start, the fourth of them the only one from then on.
  EXPECT_DOUBLE_EQ(distinct_share(Windows(8, std::vector<TokenId>(100, 7))), 4.0 / 800);
}

TEST(DistinctShare, RepeatedWindowsAndParagraphsCountOnce) {
  EXPECT_DOUBLE_EQ(distinct_share(Windows(64, random_window(3))), 1.0 / 64);
  std::vector<TokenId> repeated;
  for (int i = 0; i < 10; ++i) {
    const std::vector<TokenId> paragraph = random_window(4, 50);
    repeated.insert(repeated.end(), paragraph.begin(), paragraph.end());
  }
  EXPECT_DOUBLE_EQ(distinct_share(Windows{repeated}),
                   53.0 / 500);  // 50, and 3 seen with another context first
}

// The last token of a context counts as much as the first.
TEST(DistinctShare, AContextIsTheTokenAndThreeBeforeIt) {
  EXPECT_DOUBLE_EQ(distinct_share(Windows{{1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}}), 6.0 / 10);
  EXPECT_DOUBLE_EQ(distinct_share(Windows{{1, 9, 3, 4, 5}, {2, 9, 3, 4, 5}}), 9.0 / 10);
}

}  // namespace
}  // namespace assay::test
