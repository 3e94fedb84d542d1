#include "assay/ablation/verdict.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

#include "assay/base/error.h"

namespace assay::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kSeeds[] = {1, 2, 3, 5, 8, 47, 89, 144};

Cell cell(std::uint64_t seed, std::uint64_t batches, double bits) {
  Cell made;
  made.setting.model = "made-up";
  made.setting.checkpoint_sha256 = "c0ffee";
  made.setting.tokens_per_batch = 2048;
  made.setting.revision = "test";
  made.format = "khw3";
  made.seed = seed;
  made.batches = batches;
  made.bits_per_byte = bits;
  made.divergence = bits;
  made.heldout_relative = bits;
  return made;
}

/// Cells whose bits per byte are 1 at N = 0 and move by `steps` plus a wiggle of the seed at every step.
std::vector<Cell> cells_of(const std::vector<double>& steps, double wiggle) {
  std::vector<Cell> cells;
  for (std::size_t s = 0; s < std::size(kSeeds); ++s) {
    double bits = 1;
    cells.push_back(cell(kSeeds[s], 0, bits));
    for (std::size_t i = 0; i < steps.size(); ++i) {
      bits += steps[i] + wiggle * (static_cast<double>((s * 5 + i) % 8) - 3.5);
      cells.push_back(cell(kSeeds[s], 16 << i, bits));
    }
  }
  return cells;
}

std::vector<AblationVerdict> primary(const std::vector<Cell>& cells, double smallest_effect = 0.001) {
  std::vector<AblationVerdict> verdicts = decide(cells, smallest_effect);
  std::erase_if(verdicts, [](const auto& verdict) { return verdict.metric != "bpb_post_quant"; });
  return verdicts;
}

std::string lines(const std::vector<AblationVerdict>& verdicts) {
  std::string text;
  for (const auto& verdict : verdicts) text += verdict.to_json().dump() + "\n";
  return text;
}

std::string error_of(const std::vector<Cell>& cells) {
  try {
    decide(cells, 0.001);
  } catch (const Error& problem) {
    return problem.what();
  }
  return "no error";
}

TEST(AblationVerdict, LiftHarmAndEquivalence) {
  const auto lift = primary(cells_of({-0.05, -0.02}, 0.0005));
  ASSERT_EQ(lift.size(), 2u);
  EXPECT_EQ(lift[0].fewer, 0u);
  EXPECT_EQ(lift[0].more, 16u);
  EXPECT_NEAR(lift[0].test.mean, -0.05, 1e-12);
  EXPECT_EQ(lift[0].claim, Claim::lift);
  EXPECT_EQ(lift[1].claim, Claim::lift);
  EXPECT_TRUE(lift[0].request_rule.value());
  EXPECT_EQ(primary(cells_of({0.05, 0.02}, 0.0005))[0].claim, Claim::harm);
  EXPECT_FALSE(primary(cells_of({0.05, 0.02}, 0.0005))[0].request_rule.value());
  EXPECT_EQ(primary(cells_of({0.0001, 0}, 0.00002))[0].claim, Claim::equivalent);
  EXPECT_EQ(primary(cells_of({-0.01, 0}, 0.02))[0].claim, Claim::no_lift_shown);
}

// A sure effect below the smallest one of interest is no lift.
TEST(AblationVerdict, SmallestEffectCounts) {
  const auto cells = cells_of({-0.0008, -0.0008}, 0.00001);
  EXPECT_EQ(primary(cells, 0.0005)[0].claim, Claim::lift);
  EXPECT_EQ(primary(cells, 0.001)[0].claim, Claim::equivalent);
}

TEST(AblationVerdict, RequestRuleNeedsBothSteps) {
  const auto verdicts = primary(cells_of({-0.05, 0.02}, 0.0005));
  EXPECT_LT(verdicts[0].requested->p_below.value(), 0.01);
  EXPECT_FALSE(verdicts[0].request_rule.value());
  EXPECT_EQ(verdicts[0].requested->pairs, 3u);
}

TEST(AblationVerdict, FewerThanEightPairsClaimNothing) {
  auto cells = cells_of({-0.05, -0.02}, 0.0005);
  std::erase_if(cells, [](const Cell& c) { return c.seed == 1; });
  EXPECT_EQ(primary(cells)[0].claim, Claim::no_lift_shown);
}

TEST(AblationVerdict, WithoutTheRequestedSeedsItsRuleIsSilent) {
  auto cells = cells_of({-0.05, -0.02}, 0.0005);
  std::erase_if(cells, [](const Cell& c) { return c.seed == 89; });
  EXPECT_FALSE(primary(cells)[0].request_rule.has_value());
  EXPECT_TRUE(primary(cells)[0].to_json()["request_rule"].is_null());
}

TEST(AblationVerdict, EqualDifferences) {
  const auto same = primary(cells_of({0, 0}, 0));
  EXPECT_EQ(same[0].claim, Claim::identical);
  EXPECT_FALSE(same[0].request_rule.value());
  EXPECT_TRUE(same[0].to_json()["t"].is_null());
  EXPECT_EQ(primary(cells_of({-0.5, 0}, 0))[0].claim, Claim::offset);
}

// One significant step among many formats must survive the correction.
TEST(AblationVerdict, HolmOverFormats) {
  auto cells = cells_of({-0.0195, 0}, 0.005);
  const double alone = primary(cells)[0].holm_p;
  for (int f = 0; f < 10; ++f)
    for (const Cell& original : cells_of({0, 0}, 0.005)) {
      cells.push_back(original);
      cells.back().format = fmt::format("other{}", f);
    }
  const auto verdicts = primary(cells);
  const auto found =
      std::ranges::find_if(verdicts, [](const auto& v) { return v.format == "khw3" && v.fewer == 0; });
  EXPECT_GT(found->holm_p, 10 * alone);
  EXPECT_EQ(primary(cells_of({-0.0195, 0}, 0.005))[0].claim, Claim::lift);
  EXPECT_EQ(found->claim, Claim::no_lift_shown);
}

TEST(AblationVerdict, OrderOfRowsChangesNothing) {
  auto cells = cells_of({-0.05, -0.02}, 0.0005);
  const std::string expected = lines(decide(cells, 0.001));
  std::mt19937 random(3);
  for (int i = 0; i < 5; ++i) {
    std::ranges::shuffle(cells, random);
    EXPECT_EQ(lines(decide(cells, 0.001)), expected);
  }
}

TEST(AblationVerdict, RowsAloneReproduceItByteForByte) {
  const auto cells = cells_of({-0.05, -1.0 / 3}, 0.0005);
  std::string rows;
  for (const Cell& c : cells) rows += c.to_json().dump() + "\n";
  const auto verdicts = decide(cells, 0.001);
  rows += lines(verdicts);  // verdicts among the rows are passed over
  EXPECT_EQ(lines(decide(read_cells(rows, "rows"), 0.001)), lines(verdicts));
}

TEST(AblationVerdict, IncompleteOrMixedCellsAreRefused) {
  const auto cells = cells_of({-0.05, -0.02}, 0.0005);
  auto missing = cells;
  missing.erase(missing.begin() + 4);  // seed 2, N 16
  EXPECT_THAT(error_of(missing), HasSubstr("made-up as khw3: the cell of seed 2 and N 16 is missing"));
  auto twice = cells;
  twice.push_back(cells[0]);
  EXPECT_THAT(error_of(twice), HasSubstr("the cell of seed 1 and N 0 is there twice"));
  auto mixed = cells;
  mixed[3].setting.damping = 0.5;
  EXPECT_THAT(error_of(mixed), HasSubstr("made differently"));
  EXPECT_THAT(error_of({cells[0], cells[1]}), HasSubstr("two of each are needed"));
  EXPECT_THAT(error_of({}), HasSubstr("no cells"));
}

TEST(AblationCell, RowsThatAreNoneAreRefused) {
  const auto error = [](const std::string& rows) {
    try {
      read_cells(rows, "rows");
    } catch (const Error& problem) {
      return std::string(problem.what());
    }
    return std::string("no error");
  };
  const std::string good = cell(1, 0, 1).to_json().dump();
  EXPECT_EQ(error(good + "\n" + good), "no error");
  for (const char* schema : {"0", "3"})
    EXPECT_THAT(error(good + "\n{\"type\":\"cell\",\"schema\":" + schema + "}"),
                HasSubstr("rows: line 2: a cell of schema " + std::string(schema) + ", 1 to 2 expected"));
  Json first = Json::parse(good);
  first["schema"] = 1;
  EXPECT_EQ(error(first.dump()), "no error");
  EXPECT_THAT(error("{\"type\":\"note\"}"), HasSubstr("a row of type \"note\""));
  Json without = Json::parse(good);
  without.erase("artifact_sha256");
  EXPECT_THAT(error(without.dump()), HasSubstr("artifact_sha256"));
  without = Json::parse(good);
  without["bpb_post_quant"] = nullptr;
  EXPECT_THAT(error(without.dump()), HasSubstr("bpb_post_quant"));
  EXPECT_THAT(error(good.substr(0, 40)), HasSubstr("line 1"));
}

TEST(AblationReport, SaysWhatWasFound) {
  const auto cells = cells_of({-0.05, -0.02}, 0.0005);
  const std::string page = ablation_report(cells, decide(cells, 0.001));
  EXPECT_THAT(page, HasSubstr("## made-up"));
  EXPECT_THAT(page, HasSubstr("| khw3 | bpb_post_quant | 0 to 16 |"));
  EXPECT_THAT(page, HasSubstr("| pass | lift |"));
}

// Rows keep their bytes, fields of other versions included; verdicts are replaced, not added up.
TEST(AblationVerdict, VerdictsAreStoredBehindTheirRows) {
  std::string rows;
  for (const Cell& each : cells_of({-0.01}, 1e-5)) {
    OrderedJson json = each.to_json();
    json["note"] = "kept";
    rows += json.dump() + "\n";
  }
  const std::string whole = with_verdicts(rows, "rows.jsonl", 0.001);
  EXPECT_EQ(whole.substr(0, rows.size()), rows);
  EXPECT_EQ(whole.substr(rows.size()), lines(decide(read_cells(rows, "rows.jsonl"), 0.001)));
  EXPECT_EQ(with_verdicts(whole, "rows.jsonl", 0.001), whole);
  EXPECT_NE(with_verdicts(whole, "rows.jsonl", 0.1), whole);
}

}  // namespace
}  // namespace assay::test
