#include "assay/quantize/expert_coverage.h"

#include <gtest/gtest.h>

#include "assay/formats/table.h"

namespace assay {
namespace {

TEST(ExpertCoverage, CountsTheExpertsOfEachLayerOnce) {
  std::vector<Tensor> tensors;
  Plan plan;
  std::vector<TensorReport> reports;
  const auto add = [&](const std::string& name, Role role, Shape shape, std::vector<std::uint64_t> tokens) {
    Tensor tensor;
    tensor.name = name;
    tensor.shape = std::move(shape);
    tensors.push_back(std::move(tensor));
    plan.tensors.push_back({nullptr, role, find_format("khw3"), Method::gptq});
    TensorReport report;
    report.tokens = std::move(tokens);
    reports.push_back(std::move(report));
  };
  // Layer 0: apart, of 64 columns, so that fewer than 16 tokens are few. Layer 1: gate and up of one tensor.
  std::uint64_t seen[] = {0, 15, 16, 900};
  for (int e = 0; e < 4; ++e)
    for (const auto& [part, role] : {std::pair("gate", Role::expert_gate), std::pair("up", Role::expert_up)})
      add("model.layers.0.mlp.experts." + std::to_string(e) + "." + part + "_proj.weight", role, {32, 64},
          {seen[e]});
  add("model.layers.1.mlp.experts.gate_up_proj", Role::expert_gate_up, {3, 64, 64}, {40, 40, 7, 7, 50, 50});
  add("model.layers.2.mlp.experts.gate_up_proj", Role::expert_gate_up, {3, 64, 64}, {});  // not calibrated
  for (std::size_t i = 0; i < tensors.size(); ++i) plan.tensors[i].source = &tensors[i];

  const std::vector<ExpertCoverage> coverage = expert_coverage(plan, reports);
  ASSERT_EQ(coverage.size(), 2u);
  EXPECT_EQ(coverage[0].experts, 4u);
  EXPECT_EQ(coverage[0].least, 0u);
  EXPECT_EQ(coverage[0].median, 16u);
  EXPECT_EQ(coverage[0].seldom, 2u);
  EXPECT_EQ(coverage[0].unseen, 1u);
  EXPECT_EQ(coverage[1].layer, 1);
  EXPECT_EQ(coverage[1].experts, 3u);
  EXPECT_EQ(coverage[1].least, 7u);
  EXPECT_EQ(coverage[1].median, 40u);
  EXPECT_EQ(coverage[1].seldom, 1u);
  EXPECT_EQ(coverage[1].unseen, 0u);
}

}  // namespace
}  // namespace assay
