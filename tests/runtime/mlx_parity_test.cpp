// Checkpoints that mlx-lm's own converter wrote, against mlx-lm's own outputs: logits, the experts that each
// token visits, greedy continuations. A gate read at the wrong width still writes fluent text; here it shows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "assay/base/error.h"
#include "assay/kernels/observed_ops.h"
#include "assay/model/roles.h"
#include "assay/runtime/session.h"
#include "tests/npz.h"
#include "tests/support.h"

namespace assay {
namespace {

class MlxParity : public testing::TestWithParam<const char*> {
 protected:
  void load() {
    const std::string folder = test::shared("reference/mlx/") + GetParam();
    arrays_ = test::read_npz(folder + "/ref.npz");
    const auto keep = [&](int layer, std::span<const float> probabilities, std::span<const Visit> visits) {
      choices_[layer].push_back(
          {{probabilities.begin(), probabilities.end()}, {visits.begin(), visits.end()}});
    };
    ops_ = observed_ops(cpu_ops(), {.route = keep});
    LoadOptions options;
    options.context.ops = ops_.get();
    model_ = load_model(folder, options).model;
  }

  std::map<std::string, test::NpyArray> arrays_;
  struct Choice {
    std::vector<float> probabilities;
    std::vector<Visit> visits;
  };
  std::map<int, std::vector<Choice>> choices_;  // layer -> of each token of the last pass
  std::unique_ptr<const Ops> ops_;
  ModelPtr model_;
};

TEST_P(MlxParity, LogitsAndTheExpertsOfEveryToken) {
  ASSAY_NEEDS_SHARED(std::string("reference/mlx/") + GetParam());
  load();
  constexpr float kTie = 1e-5f;
  const MixtureConfig& mixture = model_->config().mixture;
  const auto active = static_cast<std::size_t>(mixture.active);
  std::size_t compared = 0, ties = 0, prompts = 0;
  for (; arrays_.contains("ids_" + std::to_string(prompts)); ++prompts) {
    const std::string number = std::to_string(prompts);
    const auto ids = arrays_.at("ids_" + number).as<TokenId>();
    const auto truth = arrays_.at("logits_" + number).as<float>();
    choices_.clear();
    const auto found = compute_logits(*model_, ids, 4);
    ASSERT_EQ(found.size(), truth.size());
    for (std::size_t i = 0; i < truth.size(); ++i) ASSERT_NEAR(found[i], truth[i], 2e-3) << number;
    for (const auto& [layer, choices] : choices_) {
      const auto chosen = arrays_.at("router_" + number + "_" + std::to_string(layer)).as<std::int16_t>();
      ASSERT_EQ(chosen.size(), ids.size() * active);
      ASSERT_EQ(choices.size(), ids.size());
      for (std::size_t token = 0; token < ids.size(); ++token) {
        std::vector<std::int16_t> ours;
        for (const Visit& visit : choices[token].visits)
          ours.push_back(static_cast<std::int16_t>(visit.expert));
        std::vector<float> shares = choices[token].probabilities;
        std::ranges::sort(shares, std::greater());
        if (shares[active - 1] - shares[active] < kTie) {
          ++ties;
          continue;
        }
        std::ranges::sort(ours);
        EXPECT_TRUE(std::equal(ours.begin(), ours.end(),
                               chosen.begin() + static_cast<std::ptrdiff_t>(token * active)))
            << "prompt " << number << ", layer " << layer << ", token " << token;
        ++compared;
      }
    }
  }
  EXPECT_EQ(prompts, 3u);
  EXPECT_EQ(compared + ties, 30u * choices_.size());
  EXPECT_EQ(ties, 0u);
}

TEST_P(MlxParity, Greedy) {
  ASSAY_NEEDS_SHARED(std::string("reference/mlx/") + GetParam());
  load();
  constexpr float kDecidable = 1e-2f;
  for (std::size_t prompt = 0; arrays_.contains("ids_" + std::to_string(prompt)); ++prompt) {
    const std::string number = std::to_string(prompt);
    const auto truth = arrays_.at("greedy_" + number).as<TokenId>();
    const auto margins = arrays_.at("margin_" + number).as<float>();
    GenerateOptions options;
    options.max_tokens = static_cast<int>(truth.size());
    options.stop_at_end_token = false;
    const auto made = generate(*model_, arrays_.at("ids_" + number).as<TokenId>(), options);
    for (std::size_t at = 0; at < truth.size(); ++at) {
      if (margins[at] <= kDecidable && made[at].id != truth[at]) break;
      ASSERT_EQ(made[at].id, truth[at]) << "prompt " << number << ", token " << at;
    }
  }
}

// The gates of this checkpoint are of 8 bits, as its config says; a config that takes them for 4 bits like
// the rest is refused with both widths.
TEST(MlxGates, AMisdeclaredGateIsRefused) {
  ASSAY_NEEDS_SHARED("reference/mlx/moe-q4g8");
  const test::TemporaryFolder folder;
  std::filesystem::copy(test::shared("reference/mlx/moe-q4g8"), folder.file("model"));
  EXPECT_NO_THROW(load_model(folder.file("model")));
  Json config = read_json_file(folder.file("model/config.json"));
  for (const char* section : {"quantization", "quantization_config"})
    if (config.contains(section)) config[section].erase("model.layers.2.mlp.gate");
  std::filesystem::permissions(folder.file("model/config.json"), std::filesystem::perms::owner_all);
  test::write_bytes(folder.file("model/config.json"), config.dump());
  EXPECT_ERROR(load_model(folder.file("model")), "model.layers.2.mlp.gate", "config says 4 bits",
               "shapes say 8 bits");
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, MlxParity, testing::Values("moe-q4g8", "next-everybits"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace assay
