// Names and shapes of mlx-lm: the same model under them, to the bit, and calibration of stacked experts.
#include "assay/recipes/mlx_conventions.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/base/half.h"
#include "assay/calibration/calibrated_model.h"
#include "tests/model/reference_forward.h"
#include "tests/quantize/moe_config.h"
#include "tests/support.h"

namespace assay::test {
namespace {

using testing::Contains;
using testing::HasSubstr;

std::vector<float> logits_of(const CheckpointPtr& checkpoint, std::span<const std::int32_t> tokens) {
  const auto model = Model::load(checkpoint);
  PlainState state(*model);
  const Chunk chunk{&state, tokens};
  std::vector<float> hidden, logits;
  forward(*model, {&chunk, 1}, hidden);
  assay::logits(*model, hidden, logits);
  return logits;
}

std::vector<std::int32_t> some_tokens(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 50);
  return tokens;
}

TEST(MlxConventions, TheSameModelToTheBit) {
  const auto tokens = some_tokens(40, 1);
  for (const char* type : {"qwen3_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}) {
    Json config = moe_config(type);
    if (type == std::string("qwen3_moe")) config.erase("shared_expert_intermediate_size");
    if (type == std::string("qwen3_5_text"))
      for (const char* key :
           {"num_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size"})
        config.erase(key);
    const CheckpointPtr source = MemoryModel(config).checkpoint();
    const MlxConventions made = with_mlx_conventions(source, true);
    EXPECT_TRUE(made.notes.empty()) << type;
    EXPECT_EQ(logits_of(made.checkpoint, tokens), logits_of(source, tokens)) << type;
    const bool renamed = std::string(type).starts_with("qwen3_5");
    const std::string prefix = renamed ? "language_model.model." : "model.";
    EXPECT_NE(made.checkpoint->find(prefix + "embed_tokens.weight"), nullptr) << type;
    if (config.contains("num_experts")) {
      const Tensor& stack = made.checkpoint->at(prefix + "layers.1.mlp.switch_mlp.up_proj.weight");
      EXPECT_EQ(stack.shape, (Shape{4, 64, 64}));
      EXPECT_EQ(stack.stored_bytes(), 4 * 64 * 64 * 4u);
    }
    EXPECT_EQ(with_mlx_conventions(made.checkpoint, true).checkpoint, made.checkpoint) << "already so";
  }
}

TEST(MlxConventions, NormsInTheirStoredTypeAreRoundedAloud) {
  MemoryModel model(moe_config("qwen3_next"));
  for (float& value : model.values["model.norm.weight"]) value = 1e-4f;
  const CheckpointPtr source = model.checkpoint();
  auto half = std::make_shared<Checkpoint>(*source);
  for (Tensor& tensor : half->tensors) {
    if (tensor.name != "model.norm.weight") continue;
    const auto bytes = std::make_shared<std::vector<std::byte>>(64 * 2);
    for (std::size_t i = 0; i < 64; ++i) store(bytes->data() + 2 * i, f32_to_bf16(1e-4f));
    tensor.format = find_format("bf16");
    tensor.dtype = DType::BF16;
    tensor.planes = {*bytes};
    tensor.owners = {bytes};
  }
  const MlxConventions rounded = with_mlx_conventions(half, false);
  EXPECT_THAT(rounded.notes, Contains(HasSubstr("1 norms hold 1 + w")));
  EXPECT_EQ(decode_all(rounded.checkpoint->at("model.norm.weight")), std::vector<float>(64, 1.0f));
  const MlxConventions exact = with_mlx_conventions(half, true);
  EXPECT_TRUE(exact.notes.empty());
  EXPECT_EQ(decode_all(exact.checkpoint->at("model.norm.weight"))[0], 1.0f + bf16_to_f32(f32_to_bf16(1e-4f)));
}

TEST(MlxConventions, RefusesExpertsThatCannotBeStacked) {
  Json config = moe_config("qwen3_moe");
  config.erase("shared_expert_intermediate_size");
  MemoryModel gap(config);
  gap.values.erase("model.layers.0.mlp.experts.1.up_proj.weight");
  EXPECT_ERROR(with_mlx_conventions(gap.checkpoint(), true), "model.layers.0.mlp.experts.2.up_proj.weight",
               "expert 1 is missing");
  auto uneven = std::make_shared<Checkpoint>(*MemoryModel(config).checkpoint());
  for (Tensor& tensor : uneven->tensors)
    if (tensor.name == "model.layers.0.mlp.experts.3.up_proj.weight") tensor.shape = {32, 128};
  EXPECT_ERROR(with_mlx_conventions(uneven, true), "experts.3.up_proj", "[32, 128]", "[64, 64]");
}

TEST(MlxConventions, SpellTheConfigAsMlxLmReadsIt) {
  Json config = moe_config("qwen3_next");
  config.erase("rope_theta");
  config.erase("num_experts");
  config.erase("full_attention_interval");
  config["num_local_experts"] = 4;
  config["rope_parameters"] = {
      {"rope_type", "default"}, {"rope_theta", 500.0}, {"partial_rotary_factor", 0.5}};
  config["layer_types"] = {"linear_attention", "full_attention"};
  MemoryModel model(config);
  const Json spelled = with_mlx_conventions(model.checkpoint(), true).checkpoint->config;
  EXPECT_EQ(spelled["rope_theta"], 500.0);
  EXPECT_EQ(spelled["partial_rotary_factor"], 0.5);
  EXPECT_EQ(spelled["num_experts"], 4);
  EXPECT_EQ(spelled["full_attention_interval"], 2);
  EXPECT_EQ(with_mlx_conventions(MemoryModel(moe_config("qwen3_5_moe_text")).checkpoint(), true)
                .checkpoint->config["model_type"],
            "qwen3_5_moe");
  model.config["num_hidden_layers"] = 3;
  model.config["layer_types"] = {"linear_attention", "full_attention", "full_attention"};
  EXPECT_ERROR(with_mlx_conventions(MemoryModel(model.config).checkpoint(), true), "layer 2", "every 2th");
}

using Planes = std::vector<std::vector<std::byte>>;

struct Calibrated {
  std::map<std::pair<std::string, std::uint64_t>, Planes> planes;
  std::map<std::pair<std::string, std::uint64_t>, std::uint64_t> tokens;
};

Calibrated calibrate(const CheckpointPtr& source, Container container, std::size_t tokens) {
  Recipe recipe;
  recipe.name = "test";
  Rule rule;
  rule.roles = {"experts"};
  rule.format = "mlx4-g32-f32";
  recipe.rules = {rule};
  PlanOptions options;
  options.container = container;
  options.method = Method::gptq;
  options.calibration = true;
  const Plan plan = make_plan(source, recipe, options);
  CalibrationText text;
  text.windows = {some_tokens(tokens, 9)};
  Calibrated made;
  calibrate_tensors(plan, text, {}, nullptr, {}, [&](std::size_t i, const CalibratedTensor& tensor) {
    const std::pair key{plan.tensors[i].source->name, tensor.first_row};
    EXPECT_TRUE(made.planes.emplace(key, tensor.planes).second);
    made.tokens[key] = tensor.report.tokens;
  });
  return made;
}

TEST(CalibratedExperts, StackedAreRoundedAsOnesApart) {
  Json config = moe_config("qwen3_moe");
  config.erase("shared_expert_intermediate_size");
  const CheckpointPtr source = MemoryModel(config).checkpoint();
  const Calibrated apart = calibrate(source, Container::assay, 200);
  const Calibrated stacked = calibrate(source, Container::mlx, 200);
  ASSERT_EQ(apart.planes.size(), 2u * 4 * 3);
  ASSERT_EQ(stacked.planes.size(), apart.planes.size());
  std::uint64_t visits = 0;
  for (int layer = 0; layer < 2; ++layer)
    for (std::uint64_t e = 0; e < 4; ++e)
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
        const std::pair one{fmt::format("{}experts.{}.{}.weight", mlp, e, projection), std::uint64_t{0}};
        const std::pair part{fmt::format("{}switch_mlp.{}.weight", mlp, projection), e * 64};
        EXPECT_EQ(apart.planes.at(one), stacked.planes.at(part)) << one.first;
        EXPECT_EQ(apart.tokens.at(one), stacked.tokens.at(part)) << one.first;
        visits += apart.tokens.at(one);
      }
  EXPECT_EQ(visits, 200u * 2 * 3 * 2);  // tokens, layers, projections, experts of each
}

TEST(CalibratedExperts, ThoseThatHardlyATokenVisitsAreRoundedByTheirWeights) {
  const CheckpointPtr source = MemoryModel(moe_config("qwen3_5_moe_text")).checkpoint();
  const Calibrated made =
      calibrate(source, Container::assay, 5);  // under a quarter of 64 columns, all of them
  const Tensor& fused = source->at("model.layers.0.mlp.experts.gate_up_proj");
  ASSERT_EQ(made.planes.size(), 2u * 4 * 3);
  const FormatPtr format = find_format("mlx4-g32-f32");
  const std::vector<float> weights = decode_all(fused);
  for (std::uint64_t part = 0; part < 8; ++part) {  // gate and up of each expert
    const RoundedMatrix expected =
        round_by_weights(*format, std::span(weights).subspan(part * 64 * 64, 64 * 64), 64, 64);
    Planes planes;
    const Layout layout = format->layout(64);
    for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, expected.params.size()));
    format->pack(expected.params, expected.codes, std::vector<MutableBytes>(planes.begin(), planes.end()));
    EXPECT_EQ(made.planes.at({fused.name, part * 64}), planes) << part;
  }
}

}  // namespace
}  // namespace assay::test
