#include "assay/allocation/allocation.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "assay/base/error.h"
#include "tests/isa.h"
#include "tests/sanitized.h"
#include "tests/support.h"

namespace assay {
namespace {

std::vector<std::vector<Choice>> random_items(std::mt19937& random, std::size_t count) {
  std::vector<std::vector<Choice>> items(count);
  for (auto& item : items)
    for (int c = 0; c < 3; ++c)
      item.push_back({100 + random() % 900, std::uniform_real_distribution<double>(0, 1)(random)});
  return items;
}

struct Total {
  std::uint64_t bytes = 0;
  double damage = 0;
};

Total total(const std::vector<std::vector<Choice>>& items, const std::vector<std::size_t>& chosen) {
  Total sum;
  for (std::size_t i = 0; i < items.size(); ++i) {
    sum.bytes += items[i][chosen[i]].bytes;
    sum.damage += items[i][chosen[i]].damage;
  }
  return sum;
}

/// Every combination; infinity when none fits.
double brute_force(const std::vector<std::vector<Choice>>& items, std::uint64_t budget) {
  double best = std::numeric_limits<double>::infinity();
  std::size_t combinations = 1;
  for (const auto& item : items) combinations *= item.size();
  for (std::size_t combination = 0; combination < combinations; ++combination) {
    std::vector<std::size_t> chosen;
    for (std::size_t rest = combination; const auto& item : items) {
      chosen.push_back(rest % item.size());
      rest /= item.size();
    }
    const Total sum = total(items, chosen);
    if (sum.bytes <= budget) best = std::min(best, sum.damage);
  }
  return best;
}

TEST(Allocation, EqualsBruteForceAndKeepsTheBudget) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 300; ++trial) {
    const auto items = random_items(random, 1 + trial % 6);
    std::uint64_t least = 0;
    for (const auto& item : items) least += std::ranges::min(item, {}, &Choice::bytes).bytes;
    const std::uint64_t budget = least + random() % 3000;
    const Total sum = total(items, allocate(items, budget));
    EXPECT_LE(sum.bytes, budget);
    EXPECT_NEAR(sum.damage, brute_force(items, budget), 1e-12) << trial;
  }
}

TEST(Allocation, MoreBytesNeverHurt) {
  std::mt19937 random(11);
  const auto items = random_items(random, 12);
  double last = std::numeric_limits<double>::infinity();
  for (std::uint64_t budget = 6000; budget < 12000; budget += 250) {
    const Total sum = total(items, allocate(items, budget));
    EXPECT_LE(sum.damage, last + 1e-12) << budget;
    last = sum.damage;
  }
}

TEST(Allocation, HugeBudgetsAreGriddedAndStillKept) {
  const std::vector<std::vector<Choice>> items(40, {{1u << 28, 1.0}, {(1u << 28) + (1u << 26) + 1, 0.5}});
  const std::uint64_t budget = 40ull * (1u << 28) + 10ull * ((1u << 26) + 1) + 100000000;
  const Total sum = total(items, allocate(items, budget));
  EXPECT_LE(sum.bytes, budget);
  EXPECT_DOUBLE_EQ(sum.damage, 40 - 0.5 * 11);
}

// Sizes lie between the steps of the grid: rounded down, forty of them would pass the budget.
TEST(Allocation, GridNeverGivesMoreThanTheBudget) {
  std::mt19937 random(11);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<std::vector<Choice>> items(40);
    std::uint64_t least = 0;
    for (auto& item : items) {
      for (int c = 0; c < 6; ++c)
        item.push_back(
            {10'000'000 + random() % 1'000'000'000, std::uniform_real_distribution<double>(0, 1)(random)});
      least += std::ranges::min(item, {}, &Choice::bytes).bytes;
    }
    const std::uint64_t budget = least + random() % (2 * least);
    EXPECT_LE(total(items, allocate(items, budget)).bytes, budget) << trial;
  }
}

// Two hundred matrices whose sizes share a factor, as a model's do: the budget of the best format everywhere
// buys it.
TEST(Allocation, AnExactBudgetIsUsedExactly) {
  std::mt19937 random(13);
  std::vector<std::vector<Choice>> items(200);
  std::uint64_t best = 0;
  for (auto& item : items) {
    const std::uint64_t unit = 6912 * (1 + random() % 9);
    item = {{5 * unit, 2.0}, {7 * unit, 1.0}, {10 * unit, 0.0}};
    best += 10 * unit;
  }
  const Total sum = total(items, allocate(items, best));
  EXPECT_EQ(sum.bytes, best);
  EXPECT_EQ(sum.damage, 0.0);
}

// A mixture has thousands of matrices: what the programme remembers must not grow with them and the budget
// both (one number for each pair would be 524 MB here).
TEST(Allocation, MemoryStaysFarBelowItemsTimesSteps) {
  std::mt19937 random(17);
  std::vector<std::vector<Choice>> items(2000);
  std::uint64_t budget = 0;
  for (auto& item : items) {
    item = {{1000, 1 + 1e-3 * static_cast<double>(random() % 1000)}, {2000 + random() % 2, 0.5}};
    budget += 1500;
  }
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto peak_megabytes = [] {
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      return usage.ru_maxrss / 1024;
    };
    const long before = peak_megabytes(), allowed = 200 + (test::kSanitized ? 256 : 0);
    const Total sum = total(items, allocate(items, budget));
    _exit(sum.bytes <= budget && peak_megabytes() - before < allowed ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

// As many items as make several stretches, the last of them short.
TEST(Allocation, StretchesThatAreComputedAgainFitTogether) {
  std::mt19937 random(19);
  for (const std::size_t count : {1u, 2u, 3u, 5u, 16u, 17u, 90u}) {
    // Each item's better choice costs one unit more; gains are distinct, so the greedy choice is the best.
    std::vector<std::vector<Choice>> items;
    std::vector<double> gains;
    for (std::size_t i = 0; i < count; ++i) {
      gains.push_back(std::uniform_real_distribution<double>(0.1, 1)(random));
      items.push_back({{64, 1}, {128, 1 - gains.back()}, {128, 1}});
    }
    std::ranges::sort(gains, std::greater());
    for (const std::size_t better : {std::size_t{0}, count / 2, count}) {
      const Total sum = total(items, allocate(items, 64 * (count + better)));
      const double gained =
          std::accumulate(gains.begin(), gains.begin() + static_cast<std::ptrdiff_t>(better), 0.0);
      EXPECT_EQ(sum.bytes, 64 * (count + better)) << count;
      EXPECT_NEAR(sum.damage, static_cast<double>(count) - gained, 1e-9) << count;
    }
  }
}

TEST(Allocation, ChoosesTheSameOnEveryInstructionSet) {
  std::mt19937 random(23);
  std::uniform_real_distribution<double> damage(0, 1);
  std::vector<std::vector<Choice>> items(40);
  for (auto& item : items)
    for (std::uint64_t bytes = 64; bytes <= 320; bytes += 64) item.push_back({bytes, damage(random)});
  test::expect_same_on_every_isa([&] { return allocate(items, 40 * 150); });
}

TEST(Allocation, TiesGoToFewerBytes) {
  EXPECT_EQ(allocate({{{200, 0.5}, {100, 0.5}}}, 1000), std::vector<std::size_t>{1});
}

TEST(Allocation, RefusesWhatCannotBeReached) {
  EXPECT_ERROR(allocate({{{100, 1.0}}, {{200, 1.0}, {250, 0.0}}}, 299), "299", "300");
}

TEST(Allocation, NoiseIsPooledNotExploited) {
  std::vector<Choice> choices = {{300, 0.2}, {100, 1.0}, {200, 0.1}};
  make_monotone(choices);
  EXPECT_DOUBLE_EQ(choices[1].damage, 1.0);
  EXPECT_DOUBLE_EQ(choices[2].damage, 0.15);
  EXPECT_DOUBLE_EQ(choices[0].damage, 0.15);
}

}  // namespace
}  // namespace assay
