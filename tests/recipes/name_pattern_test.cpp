#include "assay/recipes/name_pattern.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/processor_time.h"

namespace assay {
namespace {

/// The definition, exponential as it is.
bool matches_naively(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*')
    return matches_naively(pattern.substr(1), name) ||
           (!name.empty() && matches_naively(pattern, name.substr(1)));
  return !name.empty() && pattern[0] == name[0] && matches_naively(pattern.substr(1), name.substr(1));
}

TEST(NamePattern, AStarStandsForAnyRun) {
  EXPECT_TRUE(matches_name_pattern("model.layers.*.mlp.*_proj.weight", "model.layers.10.mlp.up_proj.weight"));
  EXPECT_FALSE(matches_name_pattern("model.layers.*.mlp", "model.layers.1.mlp.up_proj.weight"));
  EXPECT_TRUE(matches_name_pattern("*", ""));
  EXPECT_TRUE(matches_name_pattern("a*a", "aa"));
  EXPECT_FALSE(matches_name_pattern("a*a", "a"));  // no letter counts twice
  EXPECT_FALSE(matches_name_pattern("*ab*b", "ab"));
  EXPECT_TRUE(matches_name_pattern("", ""));
  EXPECT_FALSE(matches_name_pattern("", "a"));
}

TEST(NamePattern, RandomPatternsAgreeWithTheDefinition) {
  std::mt19937 random(5);
  const auto letters = [&](std::size_t length, int kinds) {
    std::string text;
    for (; length > 0; --length) text += "ab*"[random() % static_cast<unsigned>(kinds)];
    return text;
  };
  int matched = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string pattern = letters(random() % 8, 3), name = letters(random() % 10, 2);
    matched += matches_name_pattern(pattern, name) ? 1 : 0;
    ASSERT_EQ(matches_name_pattern(pattern, name), matches_naively(pattern, name)) << pattern << " " << name;
  }
  EXPECT_GT(matched, 1000);
}

TEST(NamePattern, ManyStarsTakeLinearTime) {
  std::string stars(200000, '*');
  for (std::size_t i = 1; i < stars.size(); i += 2) stars[i] = 'a';
  const std::string long_name(1000000, 'a'), almost = '*' + std::string(400000, 'a') + "b*";
  test::expect_quick([&] {
    EXPECT_FALSE(matches_name_pattern("********Z", std::string(300, 'a')));
    EXPECT_FALSE(matches_name_pattern(stars + "Z", long_name));
    EXPECT_TRUE(matches_name_pattern(stars, long_name));
    EXPECT_FALSE(matches_name_pattern(almost, long_name));
  });
}

}  // namespace
}  // namespace assay
