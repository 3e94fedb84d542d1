// Which rows of an expert's inputs belong to the first tokens of a run.
#include "assay/calibration/visitors.h"

#include <gtest/gtest.h>

namespace assay::test {
namespace {

TEST(Visitors, CountsAnExpertsVisitorsAmongTheFirstTokens) {
  Visitors visitors;
  const RouteObserver watch = visitors.observer();
  const auto route = [&](int layer, std::vector<Visit> visits) { watch(layer, {}, visits); };
  route(0, {{3, 1.0f}, {1, 0.5f}});
  route(0, {{3, 1.0f}, {2, 0.5f}});
  route(1, {{1, 1.0f}, {0, 0.5f}});  // layers count their own tokens
  route(0, {{1, 1.0f}, {0, 0.5f}});
  const std::string expert = "model.layers.0.mlp.experts.3.up_proj.weight";
  EXPECT_EQ(visitors.among(expert, 0), 0u);
  EXPECT_EQ(visitors.among(expert, 1), 1u);
  EXPECT_EQ(visitors.among(expert, 2), 2u);
  EXPECT_EQ(visitors.among(expert, 3), 2u);
  EXPECT_EQ(visitors.among("model.layers.0.mlp.experts.1.up_proj.weight", 2), 1u);
  EXPECT_EQ(visitors.among("model.layers.0.mlp.experts.1.up_proj.weight", 3), 2u);
  EXPECT_EQ(visitors.among("model.layers.1.mlp.experts.1.up_proj.weight", 1), 1u);
  EXPECT_EQ(visitors.among("model.layers.1.mlp.experts.7.up_proj.weight", 9), 0u);  // never
  EXPECT_EQ(visitors.among("model.layers.0.mlp.shared_expert.up_proj.weight", 3), 3u);
  EXPECT_EQ(visitors.among("model.layers.0.self_attn.q_proj.weight", 3), 3u);
}

}  // namespace
}  // namespace assay::test
