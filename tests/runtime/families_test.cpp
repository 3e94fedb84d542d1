// One small random checkpoint of each family against transformers' logits and greedy continuations, which lie
// beside it (tests/reference/family_checkpoints.py wrote all). No model of this size is in anybody's way.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/model/completeness.h"
#include "assay/model/families/families.h"
#include "assay/model/roles.h"
#include "assay/runtime/session.h"
#include "tests/support.h"

namespace assay::test {
namespace {

constexpr double kTolerance = 5e-5;  // of logits of a deviation near 1; transformers computes in float32 too

constexpr const char* kFolders[] = {"llama",     "qwen2",      "qwen2_untied", "qwen3",
                                    "qwen3_moe", "qwen3_next", "qwen3_5",      "qwen3_5_moe"};

struct Case {
  std::vector<TokenId> prompt;
  std::vector<float> logits;    // of every position
  std::vector<TokenId> greedy;  // what follows; no choice is near a tie
};

class Families : public testing::TestWithParam<const char*> {
 protected:
  std::string path_ = project("tests/data/families/") + GetParam();

  std::vector<Case> cases() const {
    std::vector<Case> list;
    const Json reference = read_json_file(path_ + "/reference.json");
    for (const Json& entry : reference.at("cases")) {
      Case made{
          entry.at("prompt").get<std::vector<TokenId>>(), {}, entry.at("greedy").get<std::vector<TokenId>>()};
      for (const Json& row : entry.at("logits"))
        for (const Json& value : row) made.logits.push_back(value.get<float>());
      list.push_back(std::move(made));
    }
    return list;
  }
};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(a[i] - b[i])));
  return largest;
}

/// Logits of all positions, `step` tokens at a time.
std::vector<float> logits_in_steps(const Model& model, const std::vector<TokenId>& prompt, std::size_t step) {
  SequenceMemory memory(model.config());
  std::vector<float> all, hidden, logits;
  for (std::size_t at = 0; at < prompt.size(); at += step) {
    const Chunk chunk{&memory, std::span(prompt).subspan(at, std::min(step, prompt.size() - at))};
    model.forward(std::span(&chunk, 1), hidden);
    model.logits(hidden, logits);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

TEST_P(Families, LogitsAreThoseOfTransformers) {
  const ModelPtr model = Model::load(open_model(path_));
  ASSERT_EQ(cases().size(), 3u);
  for (const Case& reference : cases()) {
    ASSERT_EQ(reference.logits.size(),
              reference.prompt.size() * static_cast<std::size_t>(model->config().vocabulary));
    EXPECT_LT(largest_difference(compute_logits(*model, reference.prompt, 0), reference.logits), kTolerance);
    EXPECT_LT(largest_difference(logits_in_steps(*model, reference.prompt, 1), reference.logits), kTolerance);
    EXPECT_LT(largest_difference(logits_in_steps(*model, reference.prompt, 5), reference.logits), kTolerance);
  }
}

TEST_P(Families, SeveralSequencesAtOnce) {
  const ModelPtr model = Model::load(open_model(path_));
  const std::vector<Case> references = cases();
  std::vector<SequenceMemory> memories;
  memories.reserve(references.size());
  std::vector<Chunk> chunks;
  std::vector<float> expected, hidden, logits;
  for (const Case& reference : references) {
    memories.emplace_back(model->config());
    chunks.push_back({&memories.back(), reference.prompt});
    expected.insert(expected.end(), reference.logits.begin(), reference.logits.end());
  }
  model->forward(chunks, hidden);
  model->logits(hidden, logits);
  EXPECT_LT(largest_difference(logits, expected), kTolerance);
}

TEST_P(Families, GreedyContinuationsAreThoseOfTransformers) {
  const ModelPtr model = Model::load(open_model(path_));
  for (const Case& reference : cases()) {
    GenerateOptions options;
    options.max_tokens = static_cast<int>(reference.greedy.size());
    options.stop_at_end_token = false;
    std::vector<TokenId> made;
    for (const GeneratedToken& token : generate(*model, reference.prompt, options)) made.push_back(token.id);
    EXPECT_EQ(made, reference.greedy);
    EXPECT_FALSE(made.empty());
  }
}

TEST_P(Families, EveryTensorIsExpectedAndEveryExpectedTensorIsThere) {
  const CheckpointPtr checkpoint = open_model(path_);
  const Completeness state = check_completeness(*checkpoint);
  EXPECT_TRUE(state.known);
  EXPECT_TRUE(state.whole()) << state.summary();
  EXPECT_EQ(why_not_runnable(*checkpoint), std::nullopt);
  // Without any one of them it is not.
  for (std::size_t t = 0; t < checkpoint->tensors.size(); ++t) {
    Checkpoint less = *checkpoint;
    const std::string name = less.tensors[t].name;
    less.tensors.erase(less.tensors.begin() + static_cast<std::ptrdiff_t>(t));
    EXPECT_FALSE(check_completeness(less).whole()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Families, testing::ValuesIn(kFolders),
                         [](const auto& family) { return std::string(family.param); });

TEST(FamilyTable, EveryRowHasACheckpointHere) {
  for (const Family* family : all_families()) {
    const auto is_of_family = [&](const char* folder) {
      const std::string config = project("tests/data/families/") + folder + "/config.json";
      return family_of(read_json_file(config), config) == family;
    };
    EXPECT_TRUE(std::ranges::any_of(kFolders, is_of_family)) << family->model_type;
  }
}

}  // namespace
}  // namespace assay::test
