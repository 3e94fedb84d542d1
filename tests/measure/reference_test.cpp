// Losses against what Hugging Face transformers computed, where text and models are at hand: the first
// windows, token by token. The whole text, every model, protocol and mode: bench/reference_perplexity.sh.
#include <gtest/gtest.h>

#include "assay/base/file.h"
#include "assay/measure/corpus.h"
#include "tests/measure/fakes.h"
#include "tests/support.h"

namespace assay {
namespace {

TEST(Reference, LossOfEveryTokenAsTransformersHasIt) {
  const test::SingleThread single;
  ASSAY_NEEDS_SHARED("models/small");
  ASSAY_NEEDS_SHARED("text/wiki.test.raw");
  const LoadedModel small = load_model(test::shared("models/small"));
  const Corpus corpus = load_corpus(small, {test::shared("text/wiki.test.raw"), 1001, 1});
  const std::vector<EvaluatedModel> models{{small.model.get(), "small"}};
  const auto result = evaluate(models, std::nullopt, corpus.tokens, {});
  // reference/hf/small/nll.npz: the sum over tokens 1..1000, and tokens on both sides of the first window's
  // end.
  EXPECT_NEAR(result.models[0].nll_sum, 3293.554560242743, 1e-5 * 3293);
  const struct {
    std::size_t token;
    double nll;
  } golden[] = {{1, 11.39201832},  {255, 8.05088329}, {511, 2.13237548},
                {512, 6.45880365}, {600, 2.73860502}, {900, 3.14510298}};
  for (const auto& entry : golden) {
    EXPECT_EQ(result.targets[entry.token - 1], entry.token);
    EXPECT_NEAR(result.models[0].nll[entry.token - 1], entry.nll, 2e-4) << "token " << entry.token;
  }
}

TEST(Reference, FirstTokensOfTheTestTextInBothModes) {
  const test::SingleThread single;
  ASSAY_NEEDS_SHARED("text/wiki.test.raw");
  const LoadedModel demo = load_model(test::demo_model());
  const Corpus corpus = load_corpus(demo, {test::shared("text/wiki.test.raw"), 700, 1});
  EXPECT_EQ(corpus.tokens_in_text, 357653u);
  EXPECT_EQ(corpus.text.size(), 1290547u);
  EXPECT_EQ(corpus.text_sha256, "4f3e427e4aff23acff917a8a51aeae21bf12832256e26914c8fc250dcef4103c");
  EXPECT_FALSE(corpus.bos_added);
  const std::vector<EvaluatedModel> models{{demo.model.get(), "demo"}};
  EvaluateOptions options;
  const auto prefill = evaluate(models, std::nullopt, corpus.tokens, options);
  options.mode = EvaluationMode::decode;
  const auto decode = evaluate(models, std::nullopt, corpus.tokens, options);
  EXPECT_NEAR(prefill.models[0].nll_mean(), decode.models[0].nll_mean(), 1e-6);
}

}  // namespace
}  // namespace assay
