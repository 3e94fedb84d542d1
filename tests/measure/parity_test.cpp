#include "assay/measure/parity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/runtime/session.h"
#include "tests/measure/fake_loaded.h"
#include "tests/support.h"

namespace assay {
namespace {

constexpr int kParityLetters = 12;

/// The same logits for the same history; what the model says after `planted` tokens is moved by `shift`.
test::LogitRule rule_with_plant(std::size_t planted, float shift) {
  return [=](std::span<const std::int32_t> history) {
    std::uint64_t state = 5;
    for (const std::int32_t token : history) state = state * 131 + static_cast<std::uint64_t>(token) + 1;
    test::Noise noise(state);
    // The favourite changes with the history: a wrong token leads astray.
    const std::size_t favourite = state % kParityLetters;
    std::vector<float> logits;
    for (int v = 0; v < kParityLetters; ++v) logits.push_back(static_cast<float>(noise.uniform()));
    logits[favourite] += 3;
    if (history.size() == planted) logits[(favourite + 1) % kParityLetters] = logits[favourite] + shift;
    return logits;
  };
}

class ParityTest : public ::testing::Test {
 protected:
  ParityTest() { cases_ = generate_parity_cases(model_, tokenizer_, {"abcd", "ff"}, 10); }
  test::LetterTokenizer tokenizer_{kParityLetters};
  test::FakeModel model_{kParityLetters, rule_with_plant(0, 0)};
  std::vector<ParityCase> cases_;
};

TEST_F(ParityTest, AModelEqualsItself) {
  for (const ParityCase& reference_case : cases_) {
    ASSERT_EQ(reference_case.new_ids.size(), 10u);
    const ParityResult result = check_parity(model_, reference_case, &model_);
    EXPECT_EQ(result.verdict, ParityVerdict::equal);
    EXPECT_EQ(result.equal, 10u);
    EXPECT_EQ(result.logits->relative_rms, 0);
  }
}

TEST_F(ParityTest, AOneTokenChangeInTheReferenceIsAMismatch) {
  ParityCase planted = cases_[0];
  planted.new_ids[6] = (planted.new_ids[6] + 1) % kParityLetters;
  const ParityResult result = check_parity(model_, planted, nullptr);
  EXPECT_EQ(result.verdict, ParityVerdict::mismatch);
  ASSERT_FALSE(result.differences.empty());
  EXPECT_EQ(result.differences[0].position, 6u);
  EXPECT_EQ(result.differences[0].expected, planted.new_ids[6]);
  EXPECT_EQ(result.differences[0].found, cases_[0].new_ids[6]);
}

TEST_F(ParityTest, AOneTokenChangeInTheModelIsAMismatchAndTheRestIsStillCompared) {
  const test::FakeModel other(kParityLetters, rule_with_plant(4 + 3, 0.5f));
  const ParityResult result = check_parity(other, cases_[0], nullptr);
  EXPECT_EQ(result.verdict, ParityVerdict::mismatch);
  ASSERT_EQ(result.differences.size(), 1u);
  EXPECT_EQ(result.differences[0].position, 3u);
  EXPECT_EQ(result.equal, 9u) << "compared on from the reference's tokens";
}

TEST_F(ParityTest, ASmallMarginIsUndecidableAndNotAPass) {
  const test::FakeModel other(kParityLetters, rule_with_plant(4 + 6, 0.5f));
  ParityCase planted = cases_[0];
  planted.margins[6] = 0.005f;
  EXPECT_EQ(check_parity(other, planted, nullptr).verdict, ParityVerdict::undecidable);
  EXPECT_EQ(check_parity(other, planted, nullptr, {.margin_tolerance = 0.001}).verdict,
            ParityVerdict::mismatch);
  planted.new_ids[8] = (planted.new_ids[8] + 1) % kParityLetters;  // a clear one behind it still counts
  EXPECT_EQ(check_parity(other, planted, nullptr).verdict, ParityVerdict::mismatch);
}

TEST_F(ParityTest, OnlyTheWindowCounts) {
  ParityCase planted = cases_[0];
  planted.new_ids[6] = (planted.new_ids[6] + 1) % kParityLetters;
  planted.window = 6;
  const ParityResult result = check_parity(model_, planted, nullptr);
  EXPECT_EQ(result.verdict, ParityVerdict::equal);
  EXPECT_EQ(result.window, 6u);
  planted.window = 7;
  EXPECT_EQ(check_parity(model_, planted, nullptr).verdict, ParityVerdict::mismatch);
}

TEST_F(ParityTest, LogitsThatDifferAreAMismatchEvenWithEqualTokens) {
  const test::FakeModel other(kParityLetters,
                              [rule = rule_with_plant(0, 0)](std::span<const std::int32_t> history) {
                                auto logits = rule(history);
                                for (float& logit : logits) logit *= 1.01f;
                                return logits;
                              });
  const ParityResult result = check_parity(other, cases_[0], &model_);
  EXPECT_EQ(result.equal, 10u);
  EXPECT_NEAR(result.logits->relative_rms, 0.01, 1e-5);
  EXPECT_EQ(result.verdict, ParityVerdict::mismatch);
  EXPECT_EQ(check_parity(other, cases_[0], &model_, {.logit_tolerance = 0.02}).verdict, ParityVerdict::equal);
}

TEST_F(ParityTest, TheWorstCaseDecides) {
  ParityResult equal, undecidable, mismatch;
  undecidable.verdict = ParityVerdict::undecidable;
  mismatch.verdict = ParityVerdict::mismatch;
  EXPECT_EQ(overall_verdict({equal, equal}), ParityVerdict::equal);
  EXPECT_EQ(overall_verdict({equal, undecidable}), ParityVerdict::undecidable);
  EXPECT_EQ(overall_verdict({mismatch, undecidable}), ParityVerdict::mismatch);
}

TEST_F(ParityTest, ReportNamesEverythingAPromptNeeds) {
  ParityReportInput input{"model", "reference.json", cases_, {}, {}, {}};
  input.cases[0].new_ids[6] = (input.cases[0].new_ids[6] + 1) % kParityLetters;
  for (const ParityCase& reference_case : input.cases)
    input.results.push_back(check_parity(model_, reference_case, nullptr));
  const std::string report = render_parity_report(input, tokenizer_);
  for (const char* part :
       {"# Parity", "## Prompt 1: `abcd`", "window: 10", "agreement: ", "first difference: position 6",
        "margin there: ", "tokens/s: ", "verdict: **MISMATCH**", "first difference: none",
        "verdict: **equal**", "1 of 2 prompts equal, 0 undecidable, 1 mismatched: **MISMATCH**"})
    EXPECT_NE(report.find(part), std::string::npos) << part << "\n" << report;
  const OrderedJson json = parity_json(input);
  EXPECT_EQ(json["prompts"][0]["first_difference"], 6);
  EXPECT_TRUE(json["prompts"][1]["first_difference"].is_null());
  EXPECT_EQ(json["verdict"], "MISMATCH");
}

TEST(ParityFile, ReadsBothSpellings) {
  const auto generations = parse_parity_cases(
      parse_json(
          R"({"generations": [{"prompt": "x", "prompt_ids": [1, 2], "new_ids": [3], "top2_margins": [0.5], "window": 1}]})",
          "t"),
      "t");
  ASSERT_EQ(generations.size(), 1u);
  EXPECT_EQ(generations[0].prompt_ids, (std::vector<TokenId>{1, 2}));
  EXPECT_EQ(generations[0].window, 1u);
  const auto prompts = parse_parity_cases(
      parse_json(R"({"prompts": [{"text": "x", "ids": [1], "new_ids": [3, 4], "margins": [0.5, 1]}]})", "t"),
      "t");
  EXPECT_EQ(prompts[0].margins, (std::vector<float>{0.5f, 1.0f}));
}

TEST(ParityFile, RefusesWhatIsNoReference) {
  const auto parse = [](const char* text) {
    return parse_parity_cases(parse_json(text, "r.json"), "r.json");
  };
  EXPECT_ERROR(parse("{}"), "r.json", "neither");
  EXPECT_ERROR(parse("[1]"), "r.json", "neither");
  EXPECT_ERROR(parse(R"({"prompts": 3})"), "r.json", "no list");
  EXPECT_ERROR(parse(R"({"prompts": []})"), "empty");
  EXPECT_ERROR(parse(R"({"prompts": [3]})"), "prompts[0]", "ids");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [1], "new_ids": [-1], "margins": [1]}]})"), "-1", "token id");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [1.5], "new_ids": [1], "margins": [1]}]})"), "1.5", "token id");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [1], "new_ids": [99999999999], "margins": [1]}]})"), "token id");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [1], "new_ids": [1, 2], "margins": [1]}]})"), "1 margins for 2");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [1], "new_ids": [1], "margins": ["x"]}]})"), "margin");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [], "new_ids": [1], "margins": [1]}]})"), "found 0 and 1");
  EXPECT_ERROR(parse(R"({"prompts": [{"ids": [1], "new_ids": [1], "margins": [1], "window": 2}]})"),
               "window");
}

TEST(ParityFile, AnotherModelsIdsAreRefused) {
  const test::FakeModel model(kParityLetters, rule_with_plant(0, 0));
  ParityCase foreign{"x", {1}, {kParityLetters}, {1.0f}, 0, 0};
  EXPECT_ERROR(check_parity(model, foreign, nullptr), "token id 12", "vocabulary of 12");
}

TEST(ParityFile, TheBundledModelEqualsItsReference) {
  const LoadedModel model = load_model(test::demo_model());
  const std::string path = test::project("tests/data/tiny/eval.json");
  auto cases = parse_parity_cases(read_json_file(path), path);
  ASSERT_EQ(cases.size(), 8u);
  cases[1].window = 16;
  const ParityResult result = check_parity(*model.model, cases[1], nullptr);
  EXPECT_NE(result.verdict, ParityVerdict::mismatch);
  EXPECT_GE(result.equal, 15u);
}

}  // namespace
}  // namespace assay
