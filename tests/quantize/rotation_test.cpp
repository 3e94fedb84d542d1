// Rotating a model leaves its function as it is.
#include "assay/rotation/rotation.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/model/roles.h"
#include "assay/quantize/quantize_model.h"
#include "tests/rotation/rotation_models.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::config_of;
using test::hybrid;
using test::kTokens;
using test::llama_with_biases;
using test::MemoryModel;
using test::tied_qwen;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;

/// Logits [tokens, vocabulary] as the program computes them.
std::vector<float> logits_of(const CheckpointPtr& checkpoint, const std::vector<std::int32_t>& tokens) {
  const auto model = Model::load(checkpoint);
  test::PlainState state(*model);
  const Chunk chunk{&state, tokens};
  std::vector<float> hidden, logits;
  forward(*model, std::span(&chunk, 1), hidden);
  assay::logits(*model, hidden, logits);
  return logits;
}

/// The largest difference of two models' logits over the largest logit.
double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0, scale = 0;
  EXPECT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    scale = std::max(scale, std::abs(static_cast<double>(a[i])));
  }
  return largest / scale;
}

TEST(Rotation, KeepsTheFunction) {
  // 320 = 5 * 64 turns in blocks, as 48 = 3 * 16 does.
  for (const Json& config :
       {tied_qwen(), llama_with_biases(), config_of("llama", 320), hybrid(), hybrid("qwen3_next")}) {
    const MemoryModel model(config);
    const auto source = model.checkpoint();
    RotationReport report;
    const auto rotated = rotate_checkpoint(source, {.seed = 7}, &report);
    EXPECT_LT(difference(logits_of(source, kTokens), logits_of(rotated, kTokens)), 1e-5);
    EXPECT_LT(report.gate.elements.largest, 1e-7);
    EXPECT_LT(report.gate.hidden.largest, 2e-6);
    EXPECT_LT(report.gate.logits.largest, 2e-6);
    EXPECT_GT(report.gate.logits.mean, 0);
  }
}

TEST(Rotation, TurnsWhatTouchesTheResidualStreamAndNothingElse) {
  const MemoryModel model(llama_with_biases());
  const auto source = model.checkpoint();
  const auto rotated = rotate_checkpoint(source, {});
  const std::string layer = "model.layers.1.";
  const auto values = [](const Checkpoint& checkpoint, const std::string& name) {
    return decode_all(checkpoint.at(name));
  };
  for (const char* kept : {"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias",
                           "mlp.gate_proj.bias", "mlp.up_proj.bias"})
    EXPECT_EQ(values(*rotated, layer + kept), values(*source, layer + kept)) << kept;
  for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"})
    EXPECT_THAT(values(*rotated, layer + norm), Each(1.0f));
  EXPECT_THAT(values(*rotated, "model.norm.weight"), Each(1.0f));
  const Rotation rotation(RotationKind::hadamard, 32, kRotationSeed);
  for (const std::string& name : {layer + "self_attn.o_proj.bias", layer + "mlp.down_proj.bias"}) {
    const std::vector<float> bias = values(*source, name);
    std::vector<double> turned(bias.begin(), bias.end());
    rotation.apply(turned);
    std::vector<float> wanted;
    for (const double value : turned) wanted.push_back(static_cast<float>(value));
    EXPECT_EQ(values(*rotated, name), wanted);
  }
  ASSERT_EQ(rotated->tensors.size(), source->tensors.size());
  for (const Tensor& tensor : rotated->tensors) EXPECT_EQ(tensor.format->name(), "f32");
}

// Norms behind a layer's halves, routers and biases of norms have no place in a rotation.
TEST(Rotation, KnowsEachTensorsUseOfTheResidualStreamOrRefuses) {
  const std::string layer = "model.layers.3.";
  const std::pair<std::string, RotationAction> known[] = {
      {"model.norm.weight", RotationAction::neutral_norm},
      {layer + "input_layernorm.weight", RotationAction::neutral_norm},
      {layer + "self_attn.k_norm.weight", RotationAction::keep},
      {layer + "linear_attn.norm.weight", RotationAction::keep},
      {layer + "self_attn.v_proj.bias", RotationAction::keep},
      {layer + "self_attn.o_proj.bias", RotationAction::rotate_rows},
      {layer + "linear_attn.out_proj.weight", RotationAction::rotate_columns}};
  for (const auto& [name, action] : known) EXPECT_EQ(rotation_action(name), action) << name;
  for (const char* name :
       {"pre_feedforward_layernorm.weight", "post_feedforward_layernorm.weight", "input_layernorm.bias",
        "mlp.gate.weight", "mlp.experts.0.up_proj.weight", "self_attn.sinks"})
    EXPECT_EQ(rotation_action(layer + name), std::nullopt) << name;
  EXPECT_EQ(rotation_action("mtp.fc.weight"), std::nullopt);
}

TEST(Rotation, UntiesTheHeadWhereverTheConfigStatesIt) {
  Json config = {{"tie_word_embeddings", true}, {"dtype", "bfloat16"}, {"text_config", tied_qwen()}};
  config["text_config"]["hidden_size"] = 64;
  const auto source = MemoryModel(config).checkpoint();
  RotationReport report;
  const auto rotated = rotate_checkpoint(source, {.seed = 5}, &report);
  EXPECT_EQ(rotated->config["tie_word_embeddings"], false);
  EXPECT_EQ(rotated->config["text_config"]["tie_word_embeddings"], false);
  EXPECT_EQ(rotated->config["dtype"], "float32");
  EXPECT_EQ(Json::parse(rotated->sidecars.at("config.json")), rotated->config);
  EXPECT_EQ(rotated->at("lm_head.weight").shape, (Shape{33, 64}));
  EXPECT_LT(difference(logits_of(source, kTokens), logits_of(rotated, kTokens)), 1e-5);

  const Json wanted = {{"version", 1}, {"kind", "hadamard"}, {"seed", 5}, {"block", 64}};
  EXPECT_EQ(rotated->config[kRotationKey], wanted);
  EXPECT_EQ(rotated->config["text_config"]["quarot_rotation_seed"], 5);
  const OrderedJson json = rotation_json(report);
  EXPECT_EQ(json["untied_head"], true);
  EXPECT_EQ(json["untied_weights"], 33 * 64);
  EXPECT_EQ(json["untied_bytes"], 33 * 64 * 4);
  EXPECT_EQ(json["gate"]["tokens"].size(), 8u);
  EXPECT_TRUE(json["symmetry"].contains("lm_head.weight"));
}

TEST(Rotation, ReadsRowsInLogicalOrder) {
  Checkpoint interleaved = *MemoryModel(config_of("llama", 32)).checkpoint();
  for (Tensor& tensor : interleaved.tensors)
    if (tensor.name.ends_with("q_proj.weight")) tensor.stored.heads = 4;
  const auto source = std::make_shared<const Checkpoint>(interleaved);
  EXPECT_LT(difference(logits_of(source, kTokens), logits_of(rotate_checkpoint(source, {}), kTokens)), 1e-5);
}

TEST(Rotation, IdentityOnlyFuses) {
  const auto source = MemoryModel(tied_qwen()).checkpoint();
  const auto fused = rotate_checkpoint(source, {.kind = RotationKind::identity});
  EXPECT_EQ(decode_all(fused->at("model.embed_tokens.weight")),
            decode_all(source->at("model.embed_tokens.weight")));
  EXPECT_FALSE(fused->config.contains("quarot_rotation_seed"));
  EXPECT_TRUE(fused->warnings.empty());
  EXPECT_LT(difference(logits_of(source, kTokens), logits_of(fused, kTokens)), 1e-5);
}

TEST(Rotation, ReportsSymmetry) {
  MemoryModel model(config_of("llama", 64));
  std::vector<float>& weights = model.values["model.layers.0.self_attn.o_proj.weight"];  // [64, 32]
  for (std::size_t row = 0; row < 64; ++row) {
    std::fill_n(weights.begin() + static_cast<std::ptrdiff_t>(32 * row), 32, row == 0 ? 2.0f : 0.0f);
    weights[32 * row + 3] = row == 0 ? 2.0f : -1.0f;
    weights[32 * row + 5] = row == 0 ? 2.0f : 3.0f;
  }
  RotationReport report;
  rotate_checkpoint(model.checkpoint(), {.kind = RotationKind::identity}, &report);
  const auto found =
      std::ranges::find(report.tensors, "model.layers.0.self_attn.o_proj.weight", &RotatedTensor::name);
  EXPECT_NEAR(found->fused.row_mean, (2.0 + 63 * 2.0 / 32) / 64 / 3, 1e-12);
  EXPECT_NEAR(found->fused.group_skew, 0.5, 1e-12);  // the constant row is left out
  EXPECT_EQ(found->rotated.group_skew, found->fused.group_skew);
}

TEST(Rotation, RefusesWhatItDoesNotKnow) {
  const auto refused = [](const Json& config, const auto& change, const std::vector<std::string>& parts) {
    MemoryModel model(config);
    change(model);
    try {
      rotate_checkpoint(model.checkpoint(), {});
      ADD_FAILURE() << parts[0];
    } catch (const Error& problem) {
      for (const std::string& part : parts) EXPECT_THAT(problem.what(), HasSubstr(part));
    }
  };
  std::mt19937 random(1);
  const auto nothing = [](MemoryModel&) {};
  for (const char* name : {"model.layers.0.pre_feedforward_layernorm.weight", "mtp.fc.weight",
                           "model.layers.0.self_attn.q_norm.weight", "model.layers.2.mlp.up_proj.weight"})
    refused(config_of("llama", 32), [&](MemoryModel& model) { model.add(name, {32}, random); },
            {name, "residual stream"});
  refused(tied_qwen(),
          [&](MemoryModel& model) {
            model.add("lm_head.weight", {33, 48}, random);
          },
          {"lm_head.weight", "tie_word_embeddings"});
  refused(tied_qwen(), [](MemoryModel& model) { model.values.erase("model.norm.weight"); },
          {"model.norm.weight", "missing"});
  refused(tied_qwen(),
          [](MemoryModel& model) {
            model.shapes["model.norm.weight"] = {24, 2};
          },
          {"model.norm.weight", "[24, 2]"});
  refused(config_of("llama", 40), nothing, {"size 40", "8"});
  refused(config_of("llama", 32, {{"quarot_rotation_seed", 1}}), nothing, {"rotated already"});
  refused(config_of("llama", 32, {{kRotationKey, Json::object()}}), nothing, {"rotated already"});
  refused(config_of("qwen3_moe", 32,
                    {{"num_experts", 2},
                     {"num_experts_per_tok", 1},
                     {"moe_intermediate_size", 32},
                     {"rope_theta", 1e4}}),
          nothing, {"experts"});
}

TEST(Rotation, LeavesNoFileBehind) {
  const test::TemporaryFolder folder;
  const auto rotated =
      rotate_checkpoint(MemoryModel(tied_qwen()).checkpoint(), {.scratch_directory = folder.path().string()});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_ERROR(
      rotate_checkpoint(MemoryModel(tied_qwen()).checkpoint(), {.scratch_directory = folder.file("missing")}),
      "missing", "cannot create");
}

TEST(Rotation, GoesThroughTheQuantiseJourney) {
  const test::TemporaryFolder folder;
  const MemoryModel model(
      config_of("qwen3", 64, {{"tie_word_embeddings", true}, {"intermediate_size", 64}, {"vocab_size", 64}}));
  QuantizeRequest request;
  request.source = rotate_checkpoint(model.checkpoint(), {.seed = 9});
  request.recipe = load_recipe("q4");
  request.plan.container = Container::lattice;
  request.out = folder.file("out");
  quantize_model(request);
  const auto written = open_model(request.out);
  EXPECT_EQ(written->config[kRotationKey], request.source->config[kRotationKey]);
  EXPECT_EQ(written->at("lm_head.weight").format->name(), "khq4");
  EXPECT_THAT(written->warnings, Contains(HasSubstr("rotated basis")));
  EXPECT_LT(difference(logits_of(request.source, kTokens), logits_of(written, kTokens)), 0.5);
}

/// Logits of a rotated model equal the original's, and so do first choices that are no near ties.
void expect_same_choices(const CheckpointPtr& source, const std::vector<std::int32_t>& prompt, int count) {
  const auto original = Model::load(source), turned = Model::load(rotate_checkpoint(source, {}));
  test::PlainState a(*original), b(*turned);
  std::vector<std::int32_t> tokens = prompt;
  int clear = 0;
  for (int step = 0; step < count; ++step) {
    std::vector<float> hidden, wanted, got;
    const auto last_logits = [&](const Model& model, SequenceState& state, std::vector<float>& logits) {
      const Chunk chunk{&state, tokens};
      forward(model, std::span(&chunk, 1), hidden);
      hidden.erase(hidden.begin(), hidden.end() - model.config().hidden);
      assay::logits(model, hidden, logits);
    };
    last_logits(*original, a, wanted);
    last_logits(*turned, b, got);
    EXPECT_LT(difference(wanted, got), 1e-5);
    std::vector<float> sorted = wanted;
    std::ranges::nth_element(sorted, sorted.begin() + 1, std::greater());
    const auto best = std::ranges::max_element(wanted) - wanted.begin();
    if (sorted[0] - sorted[1] > 1e-3f) {
      ++clear;
      EXPECT_EQ(std::ranges::max_element(got) - got.begin(), best) << "step " << step;
    }
    tokens = {static_cast<std::int32_t>(best)};
  }
  EXPECT_GT(clear, count * 9 / 10);
}

TEST(Rotation, BundledModelChoosesTheSameTokens) {
  expect_same_choices(open_model(test::demo_model()), {8189, 300, 4000}, 48);
}

TEST(Rotation, RealModelOfHidden320ChoosesTheSameTokens) {
  ASSAY_NEEDS_SHARED("models/llama");
  expect_same_choices(open_model(test::shared("models/llama")), {8189, 300, 4000}, 48);
}

}  // namespace
}  // namespace assay
