#include "assay/measure/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "assay/base/error.h"
#include "assay/parallel/threads.h"
#include "assay/runtime/session.h"
#include "tests/measure/fakes.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::FakeModel;
using test::Noise;

constexpr int kVocabulary = 50;

/// Logits that depend on the whole history, so that a wrong window or a stale cache changes the loss.
std::vector<float> history_rule(std::span<const std::int32_t> history, double sharpness) {
  std::uint64_t state = 7;
  for (const std::int32_t token : history) state = state * 31 + static_cast<std::uint64_t>(token) + 1;
  Noise noise(state);
  std::vector<float> logits(kVocabulary);
  for (float& logit : logits) logit = static_cast<float>(sharpness * noise.normal());
  return logits;
}

FakeModel history_model(double sharpness) {
  return {kVocabulary, [sharpness](auto history) { return history_rule(history, sharpness); }};
}

std::vector<TokenId> random_tokens(std::size_t count) {
  Noise noise(11);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = noise.below(kVocabulary);
  return tokens;
}

EvaluateOptions small_options(EvaluationMode mode, std::size_t batch = 0,
                              Protocol protocol = Protocol::sliding) {
  return {{protocol, 16, 6}, mode, batch};
}

/// The protocol written out naively, one window after the other.
std::vector<double> naive_losses(const std::vector<TokenId>& tokens, double sharpness, std::size_t w,
                                 std::size_t s) {
  std::vector<double> losses;
  std::size_t begin = 0, last = 0;
  while (true) {
    const std::size_t end = std::min(begin + w, tokens.size());
    for (std::size_t target = last + 1; target < end; ++target) {
      const auto logits =
          history_rule(std::span<const TokenId>(tokens).subspan(begin, target - begin), sharpness);
      double sum = 0;
      for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
      losses.push_back(std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(tokens[target])]));
    }
    last = end - 1;
    if (end == tokens.size()) return losses;
    begin += s;
  }
}

TEST(Evaluate, UniformModelHasPerplexityOfItsVocabulary) {
  const FakeModel model(kVocabulary, [](auto) { return std::vector<float>(kVocabulary, 0.25f); });
  const std::vector<EvaluatedModel> models{{&model, "uniform"}};
  for (const auto protocol : {Protocol::sliding, Protocol::chunked}) {
    const auto result = evaluate(models, std::nullopt, random_tokens(200),
                                 small_options(EvaluationMode::prefill, 3, protocol));
    EXPECT_NEAR(result.models[0].perplexity(), kVocabulary, 1e-10);
  }
}

TEST(Evaluate, FollowsTheProtocolInBothModesAndAnyBatch) {
  const FakeModel model = history_model(1.5);
  const std::vector<EvaluatedModel> models{{&model, "history"}};
  for (const std::size_t count : {2u, 15u, 16u, 17u, 101u}) {
    const auto tokens = random_tokens(count);
    const auto expected = naive_losses(tokens, 1.5, 16, 6);
    ASSERT_EQ(expected.size(), count - 1);
    for (const auto mode : {EvaluationMode::prefill, EvaluationMode::decode})
      for (const std::size_t batch : {0u, 1u, 4u, 1000u}) {
        const auto result = evaluate(models, std::nullopt, tokens, small_options(mode, batch));
        ASSERT_EQ(result.models[0].nll.size(), count - 1);
        for (std::size_t i = 0; i + 1 < count; ++i) {
          ASSERT_EQ(result.targets[i], i + 1);
          ASSERT_NEAR(result.models[0].nll[i], expected[i], 1e-12) << mode_name(mode) << " target " << i + 1;
        }
      }
  }
}

TEST(Evaluate, ChunkedScoresFromTheChunksOwnContext) {
  const FakeModel model = history_model(1);
  const std::vector<EvaluatedModel> models{{&model, "history"}};
  const auto tokens = random_tokens(50);
  const auto result =
      evaluate(models, std::nullopt, tokens, small_options(EvaluationMode::decode, 2, Protocol::chunked));
  ASSERT_EQ(result.targets.size(), 24u);
  EXPECT_EQ(result.targets[8], 24u);
  const auto logits = history_rule(std::span<const TokenId>(tokens).subspan(16, 8), 1);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  EXPECT_NEAR(result.models[0].nll[8],
              std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(tokens[24])]), 1e-12);
}

TEST(Evaluate, TotalsDoNotDependOnThreadsOrBatch) {
  const FakeModel model = history_model(2), other = history_model(1.9);
  const std::vector<EvaluatedModel> models{{&model, "test"}};
  const EvaluatedModel reference{&other, "reference"};
  const auto tokens = random_tokens(150);
  std::optional<Evaluation> first;
  for (const int threads : {1, 2, 3})
    for (const std::size_t batch : {1u, 7u}) {
      set_thread_count(threads);
      const auto result = evaluate(models, reference, tokens, small_options(EvaluationMode::prefill, batch));
      if (!first) first = result;
      EXPECT_EQ(result.models[0].nll_sum, first->models[0].nll_sum);
      EXPECT_EQ(result.models[0].divergence->kl, first->models[0].divergence->kl);
    }
  set_thread_count(0);
}

TEST(Evaluate, ReferenceInLockstepGivesDivergenceAndFlips) {
  // The reference always expects token 1, the test token 2; the text is 1 2 1 2 ...
  const auto favour = [](int favourite) {
    return FakeModel(4, [favourite](auto) {
      std::vector<float> logits(4, 0.0f);
      logits[static_cast<std::size_t>(favourite)] = 2;
      return logits;
    });
  };
  const FakeModel one = favour(1), two = favour(2);
  const std::vector<EvaluatedModel> models{{&two, "two"}, {&one, "one again"}};
  std::vector<TokenId> tokens;
  for (int i = 0; i < 41; ++i) tokens.push_back(1 + i % 2);
  const auto result =
      evaluate(models, EvaluatedModel{&one, "one"}, tokens, small_options(EvaluationMode::prefill));
  const Divergence& swapped = *result.models[0].divergence;
  const Divergence& same = *result.models[1].divergence;
  for (std::size_t i = 0; i < 40; ++i) {
    const bool target_is_one = tokens[i + 1] == 1;
    EXPECT_EQ(swapped.same_top[i], 0);
    EXPECT_EQ(swapped.lost[i], target_is_one ? 1 : 0);
    EXPECT_EQ(swapped.gained[i], target_is_one ? 0 : 1);
    EXPECT_NEAR(swapped.kl[i], 2 * (std::exp(2.0) - 1) / (std::exp(2.0) + 3), 1e-12);
    EXPECT_EQ(same.same_top[i], 1);
    EXPECT_EQ(same.lost[i] + same.gained[i], 0);
    EXPECT_EQ(same.kl[i], 0);
    EXPECT_EQ(same.delta_p[i], 0);
  }
  EXPECT_FALSE(result.reference->divergence);
  EXPECT_EQ(result.reference->nll, result.models[1].nll);
}

TEST(Evaluate, TheBundledModelScoresTheSameInBothModes) {
  const test::SingleThread single;
  const LoadedModel demo = load_model(test::demo_model());
  const std::vector<EvaluatedModel> models{{demo.model.get(), "demo"}};
  const std::vector<TokenId> tokens = sample_self_text(demo, 200, 1);
  const auto options = [](EvaluationMode mode) {
    return EvaluateOptions{{Protocol::sliding, 64, 32}, mode, 0};
  };
  const auto prefill = evaluate(models, std::nullopt, tokens, options(EvaluationMode::prefill));
  const auto decode = evaluate(models, std::nullopt, tokens, options(EvaluationMode::decode));
  for (std::size_t i = 0; i < prefill.targets.size(); ++i)
    EXPECT_NEAR(prefill.models[0].nll[i], decode.models[0].nll[i], 1e-3) << "target " << prefill.targets[i];
  EXPECT_NEAR(prefill.models[0].nll_mean(), decode.models[0].nll_mean(), 1e-5);
}

TEST(Evaluate, CountsTheWorkItDid) {
  const FakeModel model = history_model(1);
  const std::vector<EvaluatedModel> models{{&model, "history"}};
  const auto result =
      evaluate(models, std::nullopt, random_tokens(16), small_options(EvaluationMode::prefill));
  EXPECT_EQ(result.tokens_run, 15u);
  // 15 inputs, 15 scored, attention 4 * sum of 1..15.
  EXPECT_DOUBLE_EQ(result.models[0].flops, 15 * 1000.0 + 15 * 100.0 + 4.0 * 120);
}

TEST(Evaluate, RefusesWhatDoesNotFit) {
  const FakeModel model = history_model(1);
  const FakeModel wider(kVocabulary + 1, [](auto) { return std::vector<float>(kVocabulary + 1, 0.0f); });
  const std::vector<EvaluatedModel> models{{&model, "fifty"}};
  std::vector<TokenId> tokens = random_tokens(40);
  EXPECT_ERROR(
      evaluate(models, EvaluatedModel{&wider, "wider"}, tokens, small_options(EvaluationMode::prefill)),
      "fifty", "vocabulary of 50", "51");
  tokens[20] = kVocabulary;
  EXPECT_ERROR(evaluate(models, std::nullopt, tokens, small_options(EvaluationMode::prefill)), "token id 50",
               "wrong tokenizer");
  tokens[20] = -1;
  EXPECT_ERROR(evaluate(models, std::nullopt, tokens, small_options(EvaluationMode::prefill)), "token id -1");
}

TEST(Evaluate, ANanNamesModelAndToken) {
  const FakeModel model(kVocabulary, [](auto history) {
    std::vector<float> logits(kVocabulary, 0.0f);
    if (history.size() == 9) logits[3] = std::numeric_limits<float>::quiet_NaN();
    return logits;
  });
  const std::vector<EvaluatedModel> models{{&model, "broken"}};
  EXPECT_ERROR(evaluate(models, std::nullopt, random_tokens(12), small_options(EvaluationMode::prefill)),
               "broken", "token 9", "logit 3");
}

}  // namespace
}  // namespace assay
