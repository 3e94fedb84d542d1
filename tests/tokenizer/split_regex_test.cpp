#include "assay/tokenizer/split_regex.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/tokenizer/regex_dialect.h"
#include "tests/support.h"

namespace assay {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  const std::string origin = "model";
  TextBudget budget(text.size(), origin);
  std::vector<std::string> result;
  for (const TextSpan& span : SplitRegex(pattern, origin).find_all(text, budget))
    result.push_back(text.substr(span.begin, span.end - span.begin));
  return result;
}

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SplitRegex, ReadsPropertiesInUnicode) {
  EXPECT_THAT(matches(R"(\p{L}+)", "a\u00e9\u05d0 1\u65e5"), ElementsAre("a\u00e9\u05d0", "\u65e5"));
  EXPECT_THAT(matches(R"(\p{N}{1,3})", "1234\u00b2"), ElementsAre("123", "4\u00b2"));
  EXPECT_THAT(matches(R"(\d+)", "12\u0663\u00b2"), ElementsAre("12\u0663"));
  EXPECT_THAT(matches(R"([^\s\p{L}]++)", "a?!b"), ElementsAre("?!"));
}

TEST(SplitRegex, WhiteSpaceIsThePropertyOfThatName) {
  EXPECT_THAT(matches(R"(\s)", "\u0085\u00a0\u3000"), ElementsAre("\u0085", "\u00a0", "\u3000"));
  EXPECT_THAT(matches(R"(\s)", "\u180e\u200b"), IsEmpty());
  EXPECT_THAT(matches(R"(\S)", "\u180e "), ElementsAre("\u180e"));
  EXPECT_EQ(translate_oniguruma(R"([^\s]\S)", "model"), R"([^\p{White_Space}]\P{White_Space})");
}

TEST(SplitRegex, IgnoringCaseFoldsUnicode) {
  EXPECT_THAT(matches("(?i:'s|'k)", "'s 'S '\u017f '\u212a"), ElementsAre("'s", "'S", "'\u017f", "'\u212a"));
}

TEST(SplitRegex, PatternsThatMayMeanSomethingElseAreRefused) {
  for (const char* pattern : {"^a",
                              "a$",
                              R"(\ba)",
                              R"(\h+)",
                              R"(\w+)",
                              R"(\R)",
                              R"(\Ka)",
                              R"((a)\1)",
                              R"([a&&b]x)",
                              "[a[b]]",
                              "[]a]",
                              "(?m)a",
                              "(?m:a)",
                              "(?<n>a)",
                              "(*ACCEPT)a",
                              R"(\p{N}{1,3}+)",
                              R"(\p{N}{1,3}?)",
                              "a{,3}",
                              "a{x}",
                              "(?i:\u00e9)",
                              R"((?i:\p{Lu}))",
                              R"(\pL)",
                              R"(\x{41)",
                              R"(\xff)",
                              R"(\x)",
                              R"(\v)",
                              R"(a\)",
                              "[a",
                              R"(\p{L)",
                              R"([\w])"})
    EXPECT_ERROR(SplitRegex(pattern, "model"), "model: split pattern", pattern);
}

TEST(SplitRegex, PatternsThatCannotBeCompiledOrMatchNothingAreRefused) {
  EXPECT_ERROR(SplitRegex("(a", "model"), "cannot be compiled");
  EXPECT_ERROR(SplitRegex("a)", "model"), "cannot be compiled");
  EXPECT_ERROR(SplitRegex(R"(\p{Nonsense})", "model"), "cannot be compiled");
  EXPECT_ERROR(SplitRegex("a*", "model"), "empty string");
  EXPECT_ERROR(SplitRegex(std::string(100000, 'a'), "model"), "100000 bytes");
}

TEST(SplitRegex, EndlessBacktrackingEndsInAnError) {
  const SplitRegex regex("(?:a|a|aa)+[bc]", "model");
  const std::string origin = "model", text(200, 'a');
  TextBudget budget(text.size(), origin);
  EXPECT_ERROR(regex.find_all(text, budget), "model: split pattern", "cannot be matched");
}

}  // namespace
}  // namespace assay
