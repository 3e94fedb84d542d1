#include "assay/ablation/run.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "assay/quantize/quantize_model.h"
#include "tests/quantize/generated_model.h"
#include "tests/quantize/moe_config.h"
#include "tests/support.h"

namespace assay::test {
namespace {

using testing::HasSubstr;

/// A random model of one block under the demo's tokenizer.
struct AblationRunTest : testing::Test {
  TemporaryFolder folder;
  LoadedModel model;
  Corpus corpus;
  AblationOptions options;
  std::string rows = folder.file("rows.jsonl");

  void SetUp() override {
    write_model(folder.file("model"), llama_config(64, 128, 8192), llama_tensors(64, 128, 8192));
    model.checkpoint = open_model(folder.file("model"));
    model.model = Model::load(model.checkpoint, {.linear = {Residency::decoded}});
    model.tokenizer = load_tokenizer(open_model(demo_model())->sidecars, demo_model());
    write_bytes(folder.file("calibration.txt"), made_up_text(1, 300));
    write_bytes(folder.file("test.txt"), made_up_text(2, 15));
    corpus = load_corpus(model, {folder.file("test.txt"), 0, 1});
    options.formats = {"khw3", "int6-row"};
    options.batches = {0, 2, 4};
    options.seeds = {1, 2};
    options.tokens_per_batch = 64;
    options.window = 64;
    options.heldout_tokens = 64;
    options.calibration = folder.file("calibration.txt");
    options.evaluate.windows = {Protocol::sliding, 64, 32};
  }

  std::vector<Cell> run() { return run_ablation(model, false, corpus, options, rows); }
  std::string error() {
    try {
      run();
    } catch (const Error& problem) {
      return problem.what();
    }
    return "no error";
  }
};

std::vector<std::string> without_time(const std::vector<Cell>& cells) {
  std::vector<std::string> lines;
  for (Cell cell : cells) {
    cell.milliseconds = 0;
    cell.time.clear();
    cell.evaluated_with_seed.reset();  // another run has not seen the other seed
    lines.push_back(cell.to_json().dump());
  }
  return lines;
}

const Cell& find(const std::vector<Cell>& cells, const std::string& format, std::uint64_t seed,
                 std::uint64_t batches) {
  for (const Cell& cell : cells)
    if (cell.format == format && cell.seed == seed && cell.batches == batches) return cell;
  throw std::out_of_range("no such cell");
}

TEST_F(AblationRunTest, MakesEveryCellAndCalibrationLowersItsOwnLoss) {
  const std::vector<Cell> cells = run();
  EXPECT_EQ(cells.size(), 2u * 3 * 2);
  for (const char* format : {"khw3", "int6-row"})
    for (const std::uint64_t seed : {1, 2}) {
      const Cell& plain = find(cells, format, seed, 0);
      const Cell& most = find(cells, format, seed, 4);
      EXPECT_LT(most.calibration_loss, 0.9 * plain.calibration_loss) << format;
      EXPECT_GT(plain.heldout_relative, 0) << format;
      EXPECT_EQ(most.tokens_per_column, 4 * 64 / 128.0) << format;
      EXPECT_GT(most.divergence, 0) << format;
      EXPECT_EQ(plain.order, "none");
      EXPECT_EQ(most.order, format == std::string("khw3") ? "groups" : "activation") << format;
      EXPECT_NEAR(std::log(most.perplexity / most.original_perplexity),
                  (most.bits_per_byte / most.original_bits_per_byte - 1) * std::log(most.original_perplexity),
                  1e-9);
    }
  EXPECT_EQ(find(cells, "khw3", 1, 0).artifact_sha256, find(cells, "khw3", 2, 0).artifact_sha256);
  EXPECT_NE(find(cells, "khw3", 1, 4).artifact_sha256, find(cells, "khw3", 2, 4).artifact_sha256);
  EXPECT_NE(find(cells, "khw3", 1, 2).artifact_sha256, find(cells, "khw3", 1, 4).artifact_sha256);
  EXPECT_EQ(without_time(read_cells(read_bytes(rows), rows)), without_time(cells));
}

// The same calibration text, another text to measure on: what calibration sees must not move, what is held
// out must.
TEST_F(AblationRunTest, HeldOutLossIsTakenOnTheHeldOutText) {
  options.seeds = {1};
  const std::vector<Cell> first = run();
  write_bytes(folder.file("test.txt"), made_up_text(3, 150));
  corpus = load_corpus(model, {folder.file("test.txt"), 0, 1});
  rows = folder.file("other.jsonl");
  const std::vector<Cell> second = run();
  for (const char* format : {"khw3", "int6-row"})
    for (const std::uint64_t n : {0, 2, 4}) {
      const Cell& a = find(first, format, 1, n);
      const Cell& b = find(second, format, 1, n);
      EXPECT_EQ(a.artifact_sha256, b.artifact_sha256) << format << n;
      EXPECT_EQ(a.calibration_loss, b.calibration_loss) << format << n;
      EXPECT_NE(a.heldout_loss, b.heldout_loss) << format << n;
    }
}

TEST_F(AblationRunTest, RowsTellWhenTheyWereMadeAndWhichTimeTheyShare) {
  const std::vector<Cell> cells = run();
  for (const Cell& cell : cells) {
    EXPECT_THAT(cell.time, testing::MatchesRegex("2[0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+Z"));
    const bool shared = cell.batches == 0 && cell.seed == 2;  // plain rounding was measured with seed 1
    EXPECT_EQ(cell.evaluated_with_seed, shared ? std::optional<std::uint64_t>(1) : std::nullopt);
  }
  EXPECT_LT(find(cells, "khw3", 2, 0).milliseconds, find(cells, "khw3", 1, 0).milliseconds);
  const std::vector<Cell> read = read_cells(read_bytes(rows), rows);
  EXPECT_EQ(read[0].time, cells[0].time);
}

// Experts see their visitors alone: in order, the calibration text's first.
TEST_F(AblationRunTest, TakesAMixtureWhoseExpertsSeeAFewTokensOrNone) {
  Json config = moe_config("qwen3_moe", 16);
  config["vocab_size"] = 8192;
  config["num_experts_per_tok"] = 1;
  config.erase("shared_expert_intermediate_size");
  std::vector<GeneratedTensor> tensors;
  const std::vector<ExpectedTensor> expected = expected_tensors(config).value();
  for (const ExpectedTensor& tensor : expected) tensors.push_back({tensor.name, tensor.shape});
  write_model(folder.file("mixture"), config, tensors);
  model.checkpoint = open_model(folder.file("mixture"));
  model.model = Model::load(model.checkpoint, {.linear = {Residency::decoded}});
  options.batches = {0, 1, 4};
  const std::vector<Cell> cells = run();
  EXPECT_EQ(cells.size(), 2u * 3 * 2);
  for (const Cell& cell : cells) {
    EXPECT_TRUE(std::isfinite(cell.heldout_relative));
    EXPECT_GT(cell.divergence, 0);
  }
  EXPECT_LT(find(cells, "khw3", 1, 4).calibration_loss, find(cells, "khw3", 1, 0).calibration_loss);
}

// What no calibration makes is what the quantise journey writes, byte for byte, though it goes another way.
TEST_F(AblationRunTest, NoBatchesIsThePlainQuantiser) {
  options.seeds = {1};
  const std::vector<Cell> cells = run();
  for (const std::string format : {"khw3", "int6-row"}) {
    QuantizeRequest request;
    request.source = model.checkpoint;
    Rule rule;
    rule.roles = {"linear"};
    rule.format = format;
    request.recipe = Recipe{"plain", "", {rule}, false};
    request.out = folder.file(format);
    quantize_model(request);
    EXPECT_EQ(artifact_hash(*open_model(request.out)), find(cells, format, 1, 0).artifact_sha256) << format;
  }
}

TEST_F(AblationRunTest, GoesOnWhereItWas) {
  const std::vector<Cell> whole = run();
  rows = folder.file("again.jsonl");
  options.seeds = {1};
  run();
  const std::string first = read_bytes(rows);
  options.seeds = {1, 2};
  EXPECT_EQ(without_time(run()), without_time(whole));
  EXPECT_EQ(read_bytes(rows).substr(0, first.size()), first);  // made once
  const std::string complete = read_bytes(rows);
  run();
  EXPECT_EQ(read_bytes(rows), complete);
}

TEST_F(AblationRunTest, ThreadsChangeNothing) {
  options.seeds = {1};
  const std::vector<Cell> one = run();
  set_thread_count(2);
  rows = folder.file("two.jsonl");
  const std::vector<Cell> two = run();
  set_thread_count(1);
  EXPECT_EQ(without_time(one), without_time(two));
}

// bf16 weights are exact in GF16: there is nothing to calibrate.
TEST_F(AblationRunTest, Gf16HoldsTheModelExactly) {
  options.formats = {"gf16"};
  options.seeds = {1};
  for (const Cell& cell : run()) {
    EXPECT_EQ(cell.heldout_loss, 0);
    EXPECT_EQ(cell.divergence, 0);
    EXPECT_EQ(cell.artifact_sha256, run().front().artifact_sha256);
  }
}

TEST_F(AblationRunTest, RefusesTextsThatOverlapAndFilesOfAnotherSetting) {
  options.calibration = folder.file("test.txt");
  EXPECT_THAT(error(), HasSubstr("test.txt"));
  EXPECT_FALSE(std::filesystem::exists(rows));
  options.calibration = folder.file("calibration.txt");
  options.seeds = {1};
  run();
  options.rounding.damping = 0.05;
  EXPECT_THAT(error(), HasSubstr("made with another setting"));
  options.seeds = {1, 1};
  EXPECT_THAT(error(), HasSubstr("each once"));
}

/// Equal weights under another configuration are another model.
TEST_F(AblationRunTest, TheConfigurationIsPartOfTheModel) {
  options.seeds = {1};
  const std::string before = run().front().setting.checkpoint_sha256;
  const std::string path = folder.file("model/config.json"), weights = folder.file("model/model.safetensors");
  const std::string bytes = read_bytes(weights);
  Json config = Json::parse(read_bytes(path));
  config["rms_norm_eps"] = 2e-5;
  write_bytes(path, config.dump());
  model.checkpoint = open_model(folder.file("model"));
  model.model = Model::load(model.checkpoint, {.linear = {Residency::decoded}});
  EXPECT_THAT(error(), HasSubstr("made with another setting"));
  rows = folder.file("other.jsonl");
  EXPECT_NE(run().front().setting.checkpoint_sha256, before);
  EXPECT_EQ(read_bytes(weights), bytes);
}

}  // namespace
}  // namespace assay::test
