#include "assay/audit/router_agreement.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "assay/audit/audit.h"
#include "assay/base/error.h"
#include "tests/model/reference_forward.h"
#include "tests/support.h"

namespace assay::test {
namespace {

Json mixture() {
  return {{"model_type", "qwen3_moe"},   {"hidden_size", 32},
          {"num_hidden_layers", 3},      {"num_attention_heads", 1},
          {"num_key_value_heads", 1},    {"head_dim", 32},
          {"vocab_size", 200},           {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},        {"rope_theta", 100.0},
          {"tie_word_embeddings", true}, {"num_experts", 16},
          {"num_experts_per_tok", 4},    {"moe_intermediate_size", 8}};
}

TEST(RouterAgreement, IsFullBetweenEqualsAndChanceWithAnotherRouter) {
  MemoryModel model(mixture());
  const CheckpointPtr original = model.checkpoint();
  const RouterAgreement same = compare_routing(model.checkpoint(), original);
  EXPECT_EQ(same.tokens, 256u);
  EXPECT_EQ(same.layers.size(), 3u);
  EXPECT_EQ(same.mean(), 1.0);
  EXPECT_EQ(same.chance, 0.25);
  AuditReport sound;
  add_router_agreement(sound, model.checkpoint(), original);
  EXPECT_TRUE(sound.sound());

  // The rows of one router belong to other experts: the layer before is untouched, that layer is at chance.
  std::vector<float>& gate = model.values["model.layers.1.mlp.gate.weight"];
  std::rotate(gate.begin(), gate.begin() + 5 * 32, gate.end());
  const RouterAgreement turned = compare_routing(model.checkpoint(), original);
  EXPECT_EQ(turned.layers.at(0), 1.0);
  EXPECT_NEAR(turned.layers.at(1), 0.25, 0.12);
  AuditReport report;
  add_router_agreement(report, model.checkpoint(), original);
  ASSERT_FALSE(report.of_checkpoint.empty());
  EXPECT_EQ(report.of_checkpoint.front().kind, "routers_disagree");
  EXPECT_NE(report.of_checkpoint.front().why.find("layer 1"), std::string::npos);
}

TEST(RouterAgreement, NeedsTwoMixturesOfOneShape) {
  Json other = mixture();
  other["num_experts"] = 8;
  const CheckpointPtr a = MemoryModel(mixture()).checkpoint(), b = MemoryModel(other).checkpoint();
  EXPECT_ERROR(compare_routing(a, b), "16 experts", "has 3, 8");
  AuditReport report;
  add_router_agreement(report, a, b);
  EXPECT_TRUE(report.sound());
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_FALSE(report.routing);
}

}  // namespace
}  // namespace assay::test
