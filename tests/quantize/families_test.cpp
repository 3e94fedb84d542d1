// Every row of the table of families: quantised, as mlx-lm has it and back, rotated. The models are random.
#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/model/families/families.h"
#include "assay/quantize/quantize_model.h"
#include "assay/recipes/mlx_conventions.h"
#include "tests/model/reference_forward.h"
#include "tests/quantize/generated_model.h"
#include "tests/quantize/moe_config.h"
#include "tests/rotation/rotation_models.h"
#include "tests/support.h"

namespace assay::test {
namespace {

class EveryFamily : public testing::TestWithParam<const Family*> {
 protected:
  TemporaryFolder folder_;

  /// With every key that the family asks for, and none that it refuses.
  Json config() const {
    const Family& family = *GetParam();
    Json made = moe_config(std::string(family.model_type));
    std::vector<const char*> unknown;
    if (!family.mixture || !family.mixture->shared_expert)
      unknown.push_back("shared_expert_intermediate_size");
    if (!family.mixture)
      unknown.insert(unknown.end(), {"num_experts", "num_experts_per_tok", "moe_intermediate_size"});
    for (const char* key : unknown) made.erase(key);
    return made;
  }
  std::string quantized(const std::string& source, Container container) const {
    QuantizeRequest request;
    request.source = open_model(source);
    request.recipe = load_recipe("mlx4");
    request.plan.container = container;
    request.out = folder_.file(std::string(container_name(container)));
    request.why_not_measured = "test";
    quantize_model(request);
    return request.out;
  }
};

std::vector<double> family_logits(const CheckpointPtr& checkpoint) {
  const auto model = Model::load(checkpoint);
  PlainState state(*model);
  const Chunk chunk{&state, kTokens};
  std::vector<float> hidden, logits;
  forward(*model, {&chunk, 1}, hidden);
  assay::logits(*model, hidden, logits);
  return {logits.begin(), logits.end()};
}

double largest_gap(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

TEST_P(EveryFamily, IsTheSameModelUnderTheNamesOfMlx) {
  const CheckpointPtr source = MemoryModel(config()).checkpoint();
  const CheckpointPtr made = with_mlx_conventions(source, true).checkpoint;
  EXPECT_EQ(family_logits(made), family_logits(source));
  EXPECT_EQ(family_of(made->config, "made"), GetParam());
}

TEST_P(EveryFamily, IsQuantisedForMlxAndComesBack) {
  const std::string source = folder_.file("source");
  std::vector<GeneratedTensor> tensors;
  const auto expected = expected_tensors(config());
  for (const ExpectedTensor& tensor : *expected) tensors.push_back({tensor.name, tensor.shape});
  write_model(source, config(), tensors);
  const std::vector<double> original = family_logits(open_model(source));
  const std::vector<double> ours = family_logits(open_model(quantized(source, Container::assay)));
  const std::string mlx = quantized(source, Container::mlx);
  const std::vector<double> theirs = family_logits(open_model(mlx));
  convert_model(open_model(mlx), Container::assay, folder_.file("back"));
  EXPECT_EQ(family_logits(open_model(folder_.file("back"))), theirs);
  const double loss = largest_gap(ours, original);
  EXPECT_GT(loss, 0);
  if (GetParam()->shifted_norms)  // MLX folders hold 1 + w in bfloat16
    EXPECT_LT(largest_gap(theirs, ours), loss);
  else
    EXPECT_EQ(theirs, ours);
}

TEST_P(EveryFamily, IsRotatedUnlessItHasExperts) {
  const CheckpointPtr source = MemoryModel(config()).checkpoint();
  if (GetParam()->mixture) {
    EXPECT_ERROR(rotate_checkpoint(source, {}), "a mixture of experts cannot be rotated");
    return;
  }
  const std::vector<double> logits = family_logits(source);
  const double largest =
      std::abs(*std::ranges::max_element(logits, {}, [](double x) { return std::abs(x); }));
  EXPECT_LT(largest_gap(family_logits(rotate_checkpoint(source, {.seed = 3})), logits), 1e-5 * largest);
}

INSTANTIATE_TEST_SUITE_P(Table, EveryFamily, testing::ValuesIn(all_families().begin(), all_families().end()),
                         [](const auto& family) { return std::string(family.param->model_type); });

}  // namespace
}  // namespace assay::test
