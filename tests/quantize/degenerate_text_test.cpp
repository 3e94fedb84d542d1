// Calibration on text that tells little: the bundled model must not end far behind plain rounding on other
// text.
#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/measure/corpus.h"
#include "assay/measure/evaluate.h"
#include "assay/quantize/quantize_model.h"
#include "tests/support.h"

namespace assay::test {
namespace {

struct DegenerateText : testing::Test {
  TemporaryFolder folder;
  LoadedModel source = load_model(demo_model(), {.linear = {Residency::decoded}});
  Corpus other = load_corpus(source, {"self", 512, 1});

  QuantizeResult quantize(const std::string& out, const std::string& text, std::size_t tokens) {
    QuantizeRequest request;
    request.source = open_model(demo_model());
    request.recipe = load_recipe("q4");
    request.out = folder.file(out);
    if (!text.empty()) {
      write_bytes(folder.file("text"), text);
      request.plan.method = Method::gptq;
      request.plan.calibration = true;
      request.calibration =
          Calibration{load_calibration_text(source, {folder.file("text"), tokens, 256, 1}), {}};
      request.calibration->rounding.search.points = 8;
      request.calibration->rounding.refinements = 1;
    }
    return quantize_model(request);
  }
  double perplexity(const std::string& out) {
    const LoadedModel model = load_model(folder.file(out), {.linear = {Residency::decoded}});
    const std::vector<EvaluatedModel> models = {{model.model.get(), out}};
    return evaluate(models, std::nullopt, other.tokens, {}).models[0].perplexity();
  }
};

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST_F(DegenerateText, IsNotMuchWorseThanRoundingAndIsTold) {
  quantize("rounded", "", 0);
  const double rounded = perplexity("rounded");
  const std::string paragraph =
      "The harbour was built in the nineteenth century by a small company from the north, and for many years "
      "it was "
      "the only place along this coast where larger ships could be unloaded in winter.\n";
  for (const auto& [name, text] :
       {std::pair{std::string("word"), repeated("the ", 3000)}, {"paragraph", repeated(paragraph, 40)}}) {
    const QuantizeResult result = quantize(name, text, 512);
    EXPECT_LT(perplexity(name), 1.03 * rounded) << name;
    ASSERT_TRUE(result.calibration.has_value());
    EXPECT_LT(result.calibration->effective_tokens, 100) << name;
    EXPECT_THAT(result.calibration->warning(), testing::HasSubstr("tells little")) << name;
    EXPECT_THAT(result.calibration->line(), testing::HasSubstr("512 tokens that count for")) << name;
    EXPECT_LT(result.manifest.at("calibration").at("outcome").at("effective_tokens"), 100) << name;
    EXPECT_GT(result.manifest.at("tensors")
                  .at("model.layers.0.mlp.up_proj.weight")
                  .at("calibration")
                  .at("shrinkage"),
              0.5)
        << name;
  }
}

}  // namespace
}  // namespace assay::test
