// Commands that measure several models: what they print, and what they refuse.
#include "assay/base/json.h"
#include "tests/app/mixture.h"
#include "tests/app/program.h"

namespace assay {
namespace {

using test::Outcome;
using testing::HasSubstr;
using Commands = test::Program;

TEST_F(Commands, ComparePairsCandidates) {
  const std::string q8 = folder.file("q8"), q2 = folder.file("q2");
  ASSERT_EQ(run("quantize " + demo + " " + q8 + " --recipe q8 --measure none").code, 0);
  ASSERT_EQ(run("quantize " + demo + " " + q2 + " --recipe mlx2 --measure none").code, 0);
  const std::string compare = "compare " + demo + " " + q8 + " " + q2 + " --text self --max-tokens 2048";
  const Outcome text = run(compare);
  ASSERT_EQ(text.code, 0) << text.error;
  EXPECT_THAT(text.out, HasSubstr("KLD(q2) - KLD(q8) = +"));
  expect_error("compare " + demo + " " + folder.file("none") + " --text self", {"none", "no such file"});
  EXPECT_EQ(run("compare " + demo + " --text self").code, 2);
}

TEST_F(Commands, BenchMeasuresRatios) {
  const std::string few = " --tokens 128 --prompt-tokens 2 --prefill-tokens 8 --repeats 1 --json";
  Outcome outcome;  // other work on the machine may hide so small a slope, and the program then says so
  for (int attempt = 0; attempt < 8; ++attempt) {
    outcome = run("bench " + demo + " " + demo + few);
    if (outcome.error.find("is not measurable here") == std::string::npos) break;
  }
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  const Json report = Json::parse(outcome.out);
  ASSERT_EQ(report["models"].size(), 2u);
  EXPECT_EQ(report["n2"], 128);
  EXPECT_TRUE(report["models"][0]["ratio_to_first"].is_null());
  EXPECT_GT(report["models"][1]["ratio_to_first"]["value"].get<double>(), 0);
  expect_error("bench " + folder.file("none") + few, {"none"});
}

TEST_F(Commands, RoutingCountsAndWritesARecipe) {
  const std::string model = folder.file("moe"), recipe = folder.file("hot.json");
  test::write_mixture(model);
  std::string words;
  for (int i = 0; i < 900; ++i) words += "word" + std::to_string(i * i % 97) + (i % 7 == 0 ? "\n" : " ");
  test::write_bytes(folder.file("t.txt"), words);
  const Outcome outcome = run("routing " + model + " --max-tokens 512 --out " + recipe + " --json --text " +
                              folder.file("t.txt"));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_TRUE(Json::parse(outcome.out).is_object());
  EXPECT_EQ(Json::parse(test::read_bytes(recipe))["name"], "hot-cold");
  EXPECT_EQ(run("quantize " + model + " " + folder.file("o") + " --dry-run --recipe " + recipe).code, 0);
  EXPECT_EQ(run("routing " + demo + " --max-tokens 512").code, 1);
}

TEST_F(Commands, DemoReportsAndLeavesNothingElse) {
  const std::string out = folder.file("demo");
  const Outcome outcome = run("demo --recipes q8,mlx2 --tokens 4096 --out " + out);
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("mlx2"));
  EXPECT_THAT(test::read_bytes(out + "/report.html"), HasSubstr("mlx2"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(out), {}), 1);  // the report
  std::filesystem::create_directory(out + "/models");                         // somebody's own
  test::write_bytes(out + "/models/precious", "x");
  EXPECT_EQ(run("demo --recipes q8 --tokens 4096 --out " + out).code, 0);
  expect_error("demo --recipes q8 --tokens 4096 --keep --out " + out, {"models: exists already"});
  EXPECT_EQ(test::read_bytes(out + "/models/precious"), "x");
  expect_error("demo --recipes no-such --tokens 4096 --out " + folder.file("other"), {"no-such"});
}

TEST_F(Commands, ConvertRecipesAndFormatsRefuseWhatTheyDoNotKnow) {
  EXPECT_EQ(run("convert " + demo + " " + folder.file("o") + " --container huggingface").code, 2);
  expect_error("convert " + folder.file("none") + " " + folder.file("o") + " --container assay", {"none"});
  expect_error("convert " + demo + " " + folder.path().string() + "/x/y --container assay",
               {"parent directory"});
  expect_error("recipes --show q5", {"q5"});
  EXPECT_EQ(run("formats extra").code, 2);
  expect_error("parity " + demo + " --reference " + folder.file("none.json"), {"none.json"});
  expect_error("gate " + demo + " --reference " + demo + " --text self", {"--max-kld"});
  expect_error("audit " + folder.file("none"), {"none"});
  expect_error("routing " + folder.file("none"), {"none"});
}

}  // namespace
}  // namespace assay
