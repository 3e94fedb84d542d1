// Sensitivities of small random models: what a unit of loss is worth, and experts that no token visits.
#include "assay/allocation/sensitivity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "assay/allocation/allocated_recipe.h"
#include "tests/quantize/generated_model.h"
#include "tests/quantize/moe_config.h"
#include "tests/support.h"

namespace assay::test {
namespace {

LoadedModel written(const std::string& path, const Json& config) {
  std::vector<GeneratedTensor> tensors;
  const std::vector<ExpectedTensor> expected = expected_tensors(config).value();
  for (const ExpectedTensor& tensor : expected) tensors.push_back({tensor.name, tensor.shape});
  write_model(path, config, tensors);
  LoadedModel model;
  model.checkpoint = open_model(path);
  model.model = Model::load(model.checkpoint);
  return model;
}

CalibrationText text_of(const std::vector<std::vector<TokenId>>& windows) {
  CalibrationText text;
  text.options = {"made up", windows.size() * windows[0].size(), windows[0].size(), 1};
  text.windows = windows;
  return text;
}

std::vector<std::vector<TokenId>> random_windows(std::size_t count) {
  std::mt19937 random(3);
  std::vector<std::vector<TokenId>> windows(count, std::vector<TokenId>(32));
  for (auto& window : windows)
    for (TokenId& token : window) token = static_cast<TokenId>(random() % 50);
  return windows;
}

// The divergence is measured with plain rounding, so a unit of loss is plain rounding's: calibrated, the same
// format must cost less than was measured.
TEST(SensitivityTest, AUnitOfLossIsThatOfPlainRounding) {
  const TemporaryFolder folder;
  const LoadedModel model = written(folder.file("model"), llama_config(64, 128, 50));
  const CalibrationText text = text_of(random_windows(8));
  SensitivityOptions options{{"khw3", "khq4"}, false, 4};
  const Sensitivities plain = measure_sensitivities(model, text, options);
  options.feedback = true;
  const Sensitivities calibrated = measure_sensitivities(model, text, options);
  ASSERT_EQ(plain.tensors.size(), 7u);
  for (std::size_t t = 0; t < plain.tensors.size(); ++t) {
    EXPECT_GT(plain.tensors[t].choices[0].damage, 0) << plain.tensors[t].tensor;
    EXPECT_LT(calibrated.tensors[t].choices[0].damage, 0.95 * plain.tensors[t].choices[0].damage)
        << plain.tensors[t].tensor;
  }
}

TEST(SensitivityTest, ExpertsThatNoTokenVisitsAreWeighedByTheirWeights) {
  const TemporaryFolder folder;
  Json config = moe_config("qwen3_moe", 8);
  config["num_experts_per_tok"] = 1;
  config.erase("shared_expert_intermediate_size");
  const LoadedModel model = written(folder.file("model"), config);
  const CalibrationText text = text_of({std::vector<TokenId>(32, 7), std::vector<TokenId>(32, 9)});
  for (const bool feedback : {true, false}) {
    const Sensitivities sensitivities =
        measure_sensitivities(model, text, {{"khw3", "khq4", "q8_0"}, feedback, 2});
    std::size_t unseen = 0;
    for (const TensorSensitivity& tensor : sensitivities.tensors) {
      const bool router = tensor.tensor.ends_with("mlp.gate.weight");  // 8 bits or as it is
      ASSERT_EQ(tensor.choices.size(), router ? 1u : 3u) << tensor.tensor;
      for (const Choice& choice : tensor.choices) EXPECT_TRUE(std::isfinite(choice.damage)) << tensor.tensor;
      if (!tensor.unseen) continue;
      ++unseen;
      EXPECT_NE(tensor.tensor.find(".experts."), std::string::npos) << tensor.tensor;
      EXPECT_GT(tensor.choices[0].damage, tensor.choices[2].damage) << tensor.tensor;
    }
    EXPECT_GE(unseen, 2u * 3 * 4);  // two blocks, two tokens
    const AllocatedRecipe allocated = allocate_recipe(model.checkpoint, sensitivities, {4.5, 0, ""});
    EXPECT_LE(allocated.bits, 4.5);
    EXPECT_EQ(allocated.unseen, unseen);
    const std::vector<std::string> lines = describe(allocated);
    EXPECT_TRUE(std::ranges::any_of(lines, [](const std::string& line) {
      return line.find("no token of the text visits") != std::string::npos;
    }));
  }
}

TEST(SensitivityTest, RoutersThatNoFormatIsGoodEnoughForStayAsTheyAre) {
  const TemporaryFolder folder;
  Json config = moe_config("qwen3_moe");
  config.erase("shared_expert_intermediate_size");
  const LoadedModel model = written(folder.file("model"), config);
  const Sensitivities sensitivities =
      measure_sensitivities(model, text_of(random_windows(2)), {{"khw3", "khq4"}, false, 1});
  for (const TensorSensitivity& tensor : sensitivities.tensors)
    EXPECT_FALSE(tensor.tensor.ends_with("mlp.gate.weight")) << tensor.tensor;
  const AllocatedRecipe allocated = allocate_recipe(model.checkpoint, sensitivities, {5.0, 0, ""});
  EXPECT_LE(allocated.bits, 5.0);
  EXPECT_GT(allocated.bits, 4.5);  // the routers' 16 bits are counted, and the rest is spent
}

}  // namespace
}  // namespace assay::test
