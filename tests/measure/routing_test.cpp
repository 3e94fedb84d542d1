#include "assay/measure/routing.h"

#include <gtest/gtest.h>

#include <numeric>

#include "assay/base/error.h"
#include "tests/model/reference_forward.h"
#include "tests/support.h"

namespace assay::test {
namespace {

Json routed_mixture() {
  return {{"model_type", "qwen3_moe"},
          {"hidden_size", 16},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 1},
          {"num_key_value_heads", 1},
          {"head_dim", 16},
          {"vocab_size", 20},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 100.0},
          {"tie_word_embeddings", true},
          {"num_experts", 4},
          {"num_experts_per_tok", 2},
          {"moe_intermediate_size", 8}};
}

TEST(Routing, CountsWhomTheRoutersChoose) {
  MemoryModel model(routed_mixture());
  std::vector<TokenId> tokens(50);
  std::iota(tokens.begin(), tokens.end(), 0);
  for (TokenId& token : tokens) token %= 20;
  // In layer 1 the router answers the same to every token: experts 2 and 0.
  std::vector<float>& gate = model.values["model.layers.1.mlp.gate.weight"];
  std::ranges::fill(gate, 0.0f);
  std::ranges::fill(model.values["model.layers.1.post_attention_layernorm.weight"], 0.0f);
  const RoutingCounts equal = count_visits(model.checkpoint(), tokens, {}, 16);
  EXPECT_EQ(equal.tokens, 50u);
  EXPECT_EQ(equal.visits.at(1), (std::vector<std::uint64_t>{50, 50, 0, 0}));  // of equals the first
  const auto& first = equal.visits.at(0);
  EXPECT_EQ(std::accumulate(first.begin(), first.end(), std::uint64_t{0}), 100u);
}

TEST(Routing, HottestAreTheFewestThatGetTheShare) {
  RoutingCounts counts;
  counts.visits[3] = {5, 40, 15, 40};
  EXPECT_EQ(counts.hottest(3, 0.5), (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(counts.hottest(3, 0.4), (std::vector<bool>{false, true, false, false}));
  EXPECT_EQ(counts.hottest(3, 0.81), (std::vector<bool>{false, true, true, true}));
  EXPECT_EQ(counts.hottest(3, 0.0), std::vector<bool>(4, false));
  EXPECT_EQ(counts.hottest(3, 1.0), std::vector<bool>(4, true));
}

TEST(Routing, DenseModelsHaveNoExperts) {
  Json dense = routed_mixture();
  dense["model_type"] = "qwen3";
  dense["intermediate_size"] = 8;
  for (const char* key : {"num_experts", "num_experts_per_tok", "moe_intermediate_size"}) dense.erase(key);
  EXPECT_ERROR(count_visits(MemoryModel(dense).checkpoint(), std::vector<TokenId>{1}), "no experts");
}

}  // namespace
}  // namespace assay::test
