// The forward pass against Hugging Face transformers (float32): logits, greedy continuations, nll.
#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/json.h"
#include "assay/runtime/session.h"
#include "tests/npz.h"
#include "tests/support.h"

namespace assay {
namespace {

/// A model and the folder with logits.npz and eval.json of it.
struct Reference {
  std::string model, folder;
};

double relative_rms(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, magnitude = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double truth = b[i], delta = a[i] - truth;
    difference += delta * delta;
    magnitude += truth * truth;
  }
  return std::sqrt(difference / magnitude);
}

/// Logits of all positions, the tokens fed in chunks of `step`.
std::vector<float> logits_in_steps(const Model& model, std::span<const TokenId> ids, std::size_t step) {
  const auto state = make_sequence_state(model);
  std::vector<float> all, hidden, logits;
  for (std::size_t at = 0; at < ids.size(); at += step) {
    const Chunk chunk{state.get(), ids.subspan(at, std::min(step, ids.size() - at))};
    forward(model, {&chunk, 1}, hidden);
    assay::logits(model, hidden, logits);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

void expect_logits(const Reference& reference) {
  constexpr double kTolerance = 2e-5;  // the requirement is 1e-3
  const auto arrays = test::read_npz(reference.folder + "/logits.npz");
  const auto model = load_model(reference.model).model;
  int prompts = 0;
  for (; arrays.contains("ids_" + std::to_string(prompts)); ++prompts) {
    const auto ids = arrays.at("ids_" + std::to_string(prompts)).as<TokenId>();
    const auto truth = arrays.at("logits_" + std::to_string(prompts)).as<float>();
    EXPECT_LT(relative_rms(compute_logits(*model, ids, 0), truth), kTolerance) << prompts;
    for (const std::size_t step : {1u, 3u})
      EXPECT_LT(relative_rms(logits_in_steps(*model, ids, step), truth), kTolerance)
          << prompts << " by " << step;
  }
  EXPECT_EQ(prompts, 7);
  const auto ids = arrays.at("ids_long").as<TokenId>();
  const auto truth = arrays.at("logits_long_last4").as<float>();
  EXPECT_LT(relative_rms(compute_logits(*model, ids, 4), truth), kTolerance);
  for (const std::size_t step : {25u, 250u}) {
    const auto all = logits_in_steps(*model, ids, step);
    EXPECT_LT(relative_rms(std::span(all).last(truth.size()), truth), kTolerance) << "by " << step;
  }
}

void expect_greedy(const Reference& reference) {
  constexpr float kDecidable = 1e-2f;
  const auto model = load_model(reference.model).model;
  const Json generations = read_json_file(reference.folder + "/eval.json").at("generations");
  ASSERT_EQ(generations.size(), 8u);
  for (const Json& generation : generations) {
    const auto prompt = generation.at("prompt_ids").get<std::vector<TokenId>>();
    const auto truth = generation.at("new_ids").get<std::vector<TokenId>>();
    const auto margins = generation.at("top2_margins").get<std::vector<float>>();
    const auto made = generate(*model, prompt, {.max_tokens = 64});
    std::size_t at = 0;
    while (at < made.size() && at < truth.size() && made[at].id == truth[at]) {
      EXPECT_NEAR(made[at].margin, margins[at], 1e-3) << at;
      ++at;
    }
    if (at == truth.size())
      EXPECT_EQ(made.size(), truth.size());  // the end token ends both
    else
      EXPECT_LT(margins[at], kDecidable) << "token " << at << " of " << generation.at("prompt");
  }
}

Reference bundled() {
  return {test::demo_model(), test::project("tests/data/tiny")};
}

TEST(Parity, BundledModelLogits) {
  expect_logits(bundled());
}
TEST(Parity, BundledModelGreedy) {
  expect_greedy(bundled());
}

class SharedParity : public testing::TestWithParam<const char*> {
 protected:
  Reference reference() const {
    return {test::shared("models/") + GetParam(), test::shared("reference/hf/") + GetParam()};
  }
};

TEST_P(SharedParity, Logits) {
  ASSAY_NEEDS_SHARED(std::string("reference/hf/") + GetParam());
  expect_logits(reference());
}

TEST_P(SharedParity, Greedy) {
  ASSAY_NEEDS_SHARED(std::string("reference/hf/") + GetParam());
  expect_greedy(reference());
}

INSTANTIATE_TEST_SUITE_P(Models, SharedParity, testing::Values("small", "llama", "moe", "next", "q35"),
                         [](const auto& parameter) { return std::string(parameter.param); });

double negative_log_likelihood(std::span<const float> logits, TokenId target) {
  const float maximum = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - maximum);
  return maximum + std::log(sum) - logits[static_cast<std::size_t>(target)];
}

// The sliding protocol (window 512, stride 256) over the first tokens of the test text, as Hugging Face
// scored them.
class SharedLikelihood : public testing::Test {
 protected:
  static constexpr std::size_t kWindow = 512, kStride = 256;

  void load() {
    const auto arrays = test::read_npz(test::shared("reference/hf/small/nll.npz"));
    ids_ = arrays.at("ids").as<TokenId>();
    truth_ = arrays.at("nll_sliding").as<double>();
    model_ = load_model(test::shared("models/small")).model;
  }

  /// Feeds the windows at `starts` in steps of `step` tokens, in lockstep, and compares every position first
  /// scored.
  void expect_windows(const std::vector<std::size_t>& starts, std::size_t step) {
    std::vector<std::unique_ptr<SequenceState>> states;
    for (std::size_t i = 0; i < starts.size(); ++i) states.push_back(make_sequence_state(*model_));
    const auto vocabulary = static_cast<std::size_t>(model_->config().vocabulary);
    std::vector<float> hidden, logits;
    for (std::size_t at = 0; at < kWindow; at += step) {
      std::vector<Chunk> batch;
      for (std::size_t i = 0; i < starts.size(); ++i)
        batch.push_back({states[i].get(), std::span(ids_).subspan(starts[i] + at, step)});
      forward(*model_, batch, hidden);
      assay::logits(*model_, hidden, logits);
      for (std::size_t i = 0; i < starts.size() * step; ++i) {
        const std::size_t offset = at + i % step, target = starts[i / step] + offset + 1;
        const bool first_scored_here =
            offset + 1 < kWindow && (starts[i / step] == 0 || offset + 1 >= kWindow - kStride);
        if (!first_scored_here) continue;
        const auto row = std::span<const float>(logits).subspan(i * vocabulary, vocabulary);
        ASSERT_NEAR(negative_log_likelihood(row, ids_[target]), truth_[target], 2e-4) << target;
        ++scored_;
      }
    }
  }

  std::vector<TokenId> ids_;
  std::vector<double> truth_;
  ModelPtr model_;
  std::size_t scored_ = 0;
};

TEST_F(SharedLikelihood, PrefillOfBatchedWindows) {
  ASSAY_NEEDS_SHARED("reference/hf/small/nll.npz");
  load();
  for (std::size_t start = 0; start < 4000 - kWindow; start += 4 * kStride)
    expect_windows({start, start + kStride, start + 2 * kStride, start + 3 * kStride}, kWindow);
  EXPECT_EQ(scored_, 511u + 15 * 256);
}

TEST_F(SharedLikelihood, DecodingInLockstep) {
  ASSAY_NEEDS_SHARED("reference/hf/small/nll.npz");
  load();
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < 15; ++i) starts.push_back(i * kStride);
  expect_windows(starts, 1);
  EXPECT_EQ(scored_, 511u + 14 * 256);
}

}  // namespace
}  // namespace assay
