#include "assay/measure/windows.h"

#include <gtest/gtest.h>

#include <set>

#include "assay/base/error.h"
#include "tests/measure/fakes.h"
#include "tests/support.h"

namespace assay {
namespace {

std::size_t expected_windows(std::size_t n, std::size_t w, std::size_t s) {
  return 1 + (n > w ? (n - w + s - 1) / s : 0);
}

TEST(Windows, SlidingScoresEveryTokenButTheFirstExactlyOnce) {
  test::Noise noise(1);
  for (int round = 0; round < 2000; ++round) {
    const std::size_t n = 2 + static_cast<std::size_t>(noise.below(300));
    const std::size_t w = 2 + static_cast<std::size_t>(noise.below(60));
    const std::size_t s = 1 + static_cast<std::size_t>(noise.below(static_cast<int>(w - 1)));
    const auto windows = list_windows(n, {Protocol::sliding, w, s});
    ASSERT_EQ(windows.size(), expected_windows(n, w, s)) << n << " " << w << " " << s;
    std::size_t next = 1;
    for (std::size_t i = 0; i < windows.size(); ++i) {
      const Window& window = windows[i];
      ASSERT_EQ(window.begin, i * s);
      ASSERT_EQ(window.end, std::min(n, window.begin + w));
      ASSERT_EQ(window.first_target, next) << "targets ascend without gap or repeat";
      ASSERT_EQ(window.end_target, window.end);
      ASSERT_GT(window.first_target, window.begin) << "a target needs a token before it in its window";
      ASSERT_EQ(window.inputs(), window.end - 1 - window.begin);
      next = window.end_target;
    }
    ASSERT_EQ(next, n);
    ASSERT_EQ(count_scored(windows), n - 1);
  }
}

TEST(Windows, PublishedCounts) {
  EXPECT_EQ(list_windows(310034, {Protocol::sliding, 512, 256}).size(), 1211u);
  const auto sliding = list_windows(357653, {Protocol::sliding, 512, 256});
  EXPECT_EQ(sliding.size(), 1397u);
  EXPECT_EQ(count_scored(sliding), 357652u);
  const auto chunked = list_windows(357653, {Protocol::chunked, 512, 0});
  EXPECT_EQ(chunked.size(), 698u);
  EXPECT_EQ(count_scored(chunked), 178688u);
}

TEST(Windows, ChunksScoreTheirSecondHalfAndDropThePartialOne) {
  const auto chunks = list_windows(27, {Protocol::chunked, 8, 0});
  ASSERT_EQ(chunks.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(chunks[i].begin, 8 * i);
    EXPECT_EQ(chunks[i].end, 8 * i + 8);
    EXPECT_EQ(chunks[i].first_target, 8 * i + 4);
    EXPECT_EQ(chunks[i].end_target, 8 * i + 8);
  }
}

TEST(Windows, TheLastChunkCountsWhereTheTextEndsWithIt) {
  const auto chunks = list_windows(24, {Protocol::chunked, 8, 0});
  ASSERT_EQ(chunks.size(), 3u);
  EXPECT_EQ(chunks.back().end_target, 24u);
  EXPECT_EQ(list_windows(23, {Protocol::chunked, 8, 0}).size(), 2u);
}

TEST(Windows, RefusesWhatWouldLeaveTokensUnscored) {
  EXPECT_ERROR(list_windows(100, {Protocol::sliding, 1, 1}), "--window 1", "at least 2");
  EXPECT_ERROR(list_windows(100, {Protocol::sliding, 8, 8}), "--stride 8", "window - 1 = 7");
  EXPECT_ERROR(list_windows(100, {Protocol::sliding, 8, 0}), "--stride 0");
  EXPECT_ERROR(list_windows(1, {Protocol::sliding, 8, 4}), "1 token");
  EXPECT_ERROR(list_windows(7, {Protocol::chunked, 8, 4}), "7 tokens", "chunk of 8");
}

}  // namespace
}  // namespace assay
