#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "assay/base/error.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/table.h"
#include "assay/model/rope.h"
#include "assay/parallel/threads.h"
#include "tests/model/reference_forward.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::MemoryModel;
using test::PlainState;

/// Grouped queries, head_dim unlike hidden / heads, q/k norms, tied head.
Json small_qwen3() {
  return {{"model_type", "qwen3"},  {"hidden_size", 40},        {"intermediate_size", 56},
          {"num_hidden_layers", 2}, {"num_attention_heads", 6}, {"num_key_value_heads", 2},
          {"head_dim", 8},          {"vocab_size", 50},         {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-6},   {"rope_theta", 500.0},      {"tie_word_embeddings", true}};
}

/// All biases, Llama-3 RoPE scaling with frequencies in each of its three ranges, own head.
Json llama() {
  return {{"model_type", "llama"},
          {"hidden_size", 48},
          {"intermediate_size", 40},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 3},
          {"num_key_value_heads", 1},
          {"vocab_size", 50},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 1000.0},
          {"attention_bias", true},
          {"mlp_bias", true},
          {"tie_word_embeddings", false},
          {"rope_scaling",
           {{"rope_type", "llama3"},
            {"factor", 8.0},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0},
            {"original_max_position_embeddings", 64}}}};
}

/// A dense layer among the mixtures, weights of the chosen not divided by their sum.
Json qwen3_moe() {
  Json json = small_qwen3();
  json.update({{"model_type", "qwen3_moe"},
               {"num_experts", 6},
               {"num_experts_per_tok", 2},
               {"moe_intermediate_size", 24},
               {"mlp_only_layers", {0}},
               {"norm_topk_prob", false}});
  return json;
}

/// Delta nets with two value heads a key head, partial RoPE, a shared expert.
Json qwen3_next() {
  Json json = small_qwen3();
  json.update({{"model_type", "qwen3_next"},
               {"num_hidden_layers", 3},
               {"full_attention_interval", 2},
               {"head_dim", 16},
               {"partial_rotary_factor", 0.5},
               {"linear_num_key_heads", 2},
               {"linear_num_value_heads", 4},
               {"linear_key_head_dim", 20},
               {"linear_value_head_dim", 12},
               {"linear_conv_kernel_dim", 4},
               {"num_experts", 6},
               {"num_experts_per_tok", 3},
               {"moe_intermediate_size", 16},
               {"shared_expert_intermediate_size", 24}});
  return json;
}

/// As Qwen3-Next with projections stored apart and dense MLPs.
Json qwen3_5() {
  Json json = qwen3_next();
  json["model_type"] = "qwen3_5_text";
  json["layer_types"] = {"linear_attention", "linear_attention", "full_attention"};
  for (const char* key :
       {"num_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size"})
    json.erase(key);
  return json;
}

/// Fused experts in every layer, and a shared one.
Json qwen3_5_moe() {
  Json json = qwen3_next();
  json["model_type"] = "qwen3_5_moe_text";
  json.erase("intermediate_size");
  return json;
}

std::vector<std::int32_t> some_tokens(std::size_t count, unsigned seed = 3) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 50);
  return tokens;
}

/// Logits of one sequence computed in chunks of the given sizes.
std::vector<float> logits_in_chunks(const Model& model, std::span<const std::int32_t> tokens,
                                    const std::vector<std::size_t>& sizes) {
  PlainState state(model);
  std::vector<float> all, hidden, logits;
  for (const std::size_t size : sizes) {
    const Chunk chunk{&state, tokens.first(size)};
    forward(model, {&chunk, 1}, hidden);
    assay::logits(model, hidden, logits);
    all.insert(all.end(), logits.begin(), logits.end());
    tokens = tokens.subspan(size);
  }
  EXPECT_TRUE(tokens.empty());
  return all;
}

/// RMS of the difference relative to the RMS of b.
template <class A, class B>
double relative_rms(const A& a, const B& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0, magnitude = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    magnitude += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(difference / magnitude);
}

class Forward : public testing::TestWithParam<Json> {
 protected:
  MemoryModel memory{GetParam()};
  std::shared_ptr<const Model> model = Model::load(memory.checkpoint());
  // Of float32 against the truth: what a delta net carries gathers rounding over all tokens.
  double tolerance = model->config().carry_floats() > 0 ? 1e-5 : 3e-6;
};

TEST_P(Forward, EqualsAnIndependentFloat64Forward) {
  const auto tokens = some_tokens(70);
  std::vector<double> truth;
  for (const auto& row : test::ReferenceForward(memory, model->config()).logits(tokens))
    truth.insert(truth.end(), row.begin(), row.end());
  EXPECT_LT(relative_rms(logits_in_chunks(*model, tokens, {70}), truth), tolerance);
}

// The same blocks on the reference backend: to float64's last digits.
TEST_P(Forward, TheReferenceBackendEqualsItToo) {
  LoadOptions options;
  options.context.ops = &reference_ops();
  const auto reference = Model::load(memory.checkpoint(), options);
  const auto tokens = some_tokens(70);
  const auto truth = test::ReferenceForward(memory, model->config()).logits(tokens);
  // As float32 what comes out is rounded once; before that it is read where it lies.
  PlainState state(*reference);
  Workspace workspace;
  std::size_t row = 0;
  for (const std::size_t count : {40, 1, 29}) {
    const Workspace::Scope scope(workspace);
    const Chunk chunk{&state, std::span(tokens).subspan(row, count)};
    const Rows logits = reference->logits(reference->forward({&chunk, 1}, workspace), workspace);
    const auto values = host_values<double>(logits);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], truth[row + i / logits.width()][i % logits.width()], 1e-11) << row + i;
    row += count;
  }
}

// A session decodes without asking for memory: what a pass takes is there from the pass before.
TEST_P(Forward, ATokenAllocatesNoActivations) {
  PlainState state(*model);
  Workspace workspace;
  const auto tokens = some_tokens(70);
  const auto decode = [&](std::size_t at, std::size_t count) {
    const Workspace::Scope scope(workspace);
    const Chunk chunk{&state, std::span(tokens).subspan(at, count)};
    model->logits(model->forward({&chunk, 1}, workspace).last(1), workspace);
  };
  decode(0, 8);
  const std::size_t before = workspace.allocations();
  EXPECT_GT(before, 0u);
  for (std::size_t at = 8; at < tokens.size(); ++at) decode(at, 1);
  EXPECT_EQ(workspace.allocations(), before);
}

TEST_P(Forward, DoesNotDependOnChunking) {
  const auto tokens = some_tokens(300);
  const auto whole = logits_in_chunks(*model, tokens, {300});
  EXPECT_LT(relative_rms(logits_in_chunks(*model, tokens, std::vector<std::size_t>(300, 1)), whole),
            tolerance);
  EXPECT_LT(relative_rms(logits_in_chunks(*model, tokens, {1, 128, 7, 1, 129, 2, 32}), whole), tolerance);
}

TEST_P(Forward, SequencesOfABatchDoNotSeeEachOther) {
  const auto a = some_tokens(140, 5), b = some_tokens(33, 6);
  const auto alone_a = logits_in_chunks(*model, a, {140}), alone_b = logits_in_chunks(*model, b, {33});
  PlainState state_a(*model), state_b(*model);
  std::vector<float> hidden, logits, together_a, together_b;
  // First a alone, then both at once at different positions, then one token of each, then an empty chunk
  // beside b.
  const auto run = [&](std::span<const std::int32_t> tokens_a, std::span<const std::int32_t> tokens_b) {
    const std::vector<Chunk> batch = {{&state_a, tokens_a}, {&state_b, tokens_b}};
    forward(*model, batch, hidden);
    assay::logits(*model, hidden, logits);
    const auto split = static_cast<std::ptrdiff_t>(tokens_a.size()) * model->config().vocabulary;
    together_a.insert(together_a.end(), logits.begin(), logits.begin() + split);
    together_b.insert(together_b.end(), logits.begin() + split, logits.end());
  };
  const std::span<const std::int32_t> left(a), right(b);
  run(left.first(100), {});
  run(left.subspan(100, 39), right.first(31));
  run(left.subspan(139), right.subspan(31, 1));
  run({}, right.subspan(32));
  EXPECT_LT(relative_rms(together_a, alone_a), tolerance);
  EXPECT_LT(relative_rms(together_b, alone_b), tolerance);
}

TEST_P(Forward, ResidencyAndThreadsDoNotChangeABit) {
  const auto tokens = some_tokens(90);
  const auto stored = Model::load(memory.checkpoint(), {{Residency::stored}});
  const auto one_way = logits_in_chunks(*model, tokens, {80, 9, 1});
  EXPECT_EQ(one_way, logits_in_chunks(*stored, tokens, {80, 9, 1}));
  set_thread_count(1);
  EXPECT_EQ(one_way, logits_in_chunks(*model, tokens, {80, 9, 1}));
  set_thread_count(0);
}

// Quantised weights are computed with as what they decode to: KHQ4 blocks straddle the rows of these
// matrices.
TEST_P(Forward, QuantisedWeightsAreThoseTheyDecodeTo) {
  const auto tokens = some_tokens(40);
  for (const char* format : {"khq4", "khw3", "bf16", "gf16", "int6-row"}) {
    const CheckpointPtr quantised = memory.checkpoint(format);
    MemoryModel decoded = memory;
    for (const Tensor& tensor : quantised->tensors) decoded.values[tensor.name] = decode_all(tensor);
    const auto truth = logits_in_chunks(*Model::load(decoded.checkpoint()), tokens, {39, 1});
    EXPECT_NE(truth, logits_in_chunks(*model, tokens, {39, 1})) << format;
    for (const Residency residency : {Residency::decoded, Residency::stored})
      EXPECT_EQ(logits_in_chunks(*Model::load(quantised, {{residency}}), tokens, {39, 1}), truth) << format;
    const auto packed = Model::load(quantised, {{Residency::packed}});
    EXPECT_LT(relative_rms(logits_in_chunks(*packed, tokens, {36, 3, 1}), truth), tolerance) << format;
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, Forward,
                         testing::Values(small_qwen3(), llama(), qwen3_moe(), qwen3_next(), qwen3_5(),
                                         qwen3_5_moe()),
                         [](const auto& parameter) {
                           return parameter.param["model_type"].template get<std::string>();
                         });

TEST(ForwardErrors, TokensOutsideTheVocabulary) {
  const auto model = Model::load(MemoryModel(small_qwen3()).checkpoint());
  for (const std::int32_t token : {-1, 50}) {
    const std::vector<std::int32_t> tokens = {1, token};
    EXPECT_ERROR(logits_in_chunks(*model, tokens, {2}), "token id", token < 0 ? "-1" : "50", "0..49");
  }
}

TEST(ModelLoad, ReportsKernelsAndFlops) {
  const auto model = Model::load(MemoryModel(llama()).checkpoint());
  const std::string kernel = kernel_summary({*find_format("f32"), 1, 1}, {Residency::decoded});
  EXPECT_EQ(model->kernel_report(), std::vector<std::string>{"f32: " + kernel + " (16 matrices)"});
  const double linear = 2 * 2 * (48.0 * 16 * (3 + 1 + 1 + 3) + 3 * 48.0 * 40);
  EXPECT_EQ(model->linear_flops_per_token(), linear);
  EXPECT_EQ(model->head_flops_per_token(), 2 * 48.0 * 50);
}

TEST(ModelLoad, NamesAMissingTensor) {
  for (const char* name : {"model.layers.1.self_attn.k_norm.weight", "model.layers.0.mlp.up_proj.weight",
                           "model.norm.weight", "model.embed_tokens.weight"}) {
    MemoryModel memory(small_qwen3());
    memory.values.erase(name);
    EXPECT_ERROR(Model::load(memory.checkpoint()), "memory", name);
  }
  MemoryModel untied(llama());
  untied.values.erase("lm_head.weight");
  EXPECT_ERROR(Model::load(untied.checkpoint()), "lm_head.weight");
  MemoryModel without_bias(llama());
  without_bias.values.erase("model.layers.0.self_attn.o_proj.bias");
  EXPECT_ERROR(Model::load(without_bias.checkpoint()), "model.layers.0.self_attn.o_proj.bias");
}

TEST(ModelLoad, NamesAWrongShape) {
  MemoryModel memory(small_qwen3());
  memory.shapes["model.layers.1.mlp.up_proj.weight"] = {40, 56};
  EXPECT_ERROR(Model::load(memory.checkpoint()), "model.layers.1.mlp.up_proj.weight", "[40, 56]", "[56, 40]");
  MemoryModel norm(small_qwen3());
  norm.shapes["model.norm.weight"] = {1, 40};
  EXPECT_ERROR(Model::load(norm.checkpoint()), "model.norm.weight", "[1, 40]", "[40]");
}

TEST(ModelLoad, RefusesTensorsThatNobodyAskedFor) {
  std::mt19937 random(1);
  MemoryModel bias(small_qwen3());
  bias.add("model.layers.0.self_attn.q_proj.bias", {48}, random);
  EXPECT_ERROR(Model::load(bias.checkpoint()), "model.layers.0.self_attn.q_proj.bias", "config.json");
  MemoryModel layer(small_qwen3());
  layer.add("model.layers.2.input_layernorm.weight", {40}, random);
  EXPECT_ERROR(Model::load(layer.checkpoint()), "model.layers.2.input_layernorm.weight");
  MemoryModel unknown(small_qwen3());
  unknown.add("model.layers.0.mlp.fc1.weight", {2, 2}, random);
  EXPECT_ERROR(Model::load(unknown.checkpoint()), "model.layers.0.mlp.fc1.weight", "unknown");
}

TEST(ModelLoad, LeavesOutVisionAndMultiTokenPredictionAloud) {
  std::mt19937 random(1);
  MemoryModel memory(small_qwen3());
  memory.add("visual.patch_embed.proj.weight", {2, 2}, random);
  memory.add("mtp.fc.weight", {2, 2}, random);
  const auto report = Model::load(memory.checkpoint())->kernel_report();
  EXPECT_EQ(report.back(), "not used: 2 vision or multi-token-prediction tensors");
}

// Some checkpoints store the tied head a second time.
TEST(ModelLoad, AcceptsATiedHeadStoredTwiceOnlyWhenItIsTheSame) {
  MemoryModel memory(small_qwen3());
  memory.values["lm_head.weight"] = memory.values["model.embed_tokens.weight"];
  memory.shapes["lm_head.weight"] = memory.shapes["model.embed_tokens.weight"];
  EXPECT_NO_THROW(Model::load(memory.checkpoint()));
  memory.values["lm_head.weight"][7] += 0.5f;
  EXPECT_ERROR(Model::load(memory.checkpoint()), "lm_head.weight", "tie_word_embeddings");
}

TEST(ModelLoad, RefusesWeightsThatAreNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const char* name : {"model.layers.1.mlp.down_proj.weight", "model.norm.weight",
                             "model.layers.0.self_attn.q_norm.weight"}) {
      MemoryModel memory(small_qwen3());
      memory.values[name][5] = bad;
      EXPECT_ERROR(Model::load(memory.checkpoint()), "memory/model", name);
    }
}

TEST(Rope, Llama3ScalingHasThreeRanges) {
  // Wavelengths above 8192 are stretched 32-fold, below 2048 kept; theta and dimension of Llama 3.2.
  const RopeScaling scaling{32, 1, 4, 8192};
  const auto plain = rope_frequencies(64, 500000, std::nullopt),
             scaled = rope_frequencies(64, 500000, scaling);
  ASSERT_EQ(plain.size(), 32u);
  EXPECT_EQ(plain[0], 1.0);
  EXPECT_NEAR(plain[16], 1 / std::sqrt(500000.0), 1e-12);
  int kept = 0, stretched = 0, between = 0;
  for (std::size_t j = 0; j < plain.size(); ++j) {
    const double wavelength = 2 * std::numbers::pi / plain[j];
    if (wavelength < 2048) {
      EXPECT_EQ(scaled[j], plain[j]);
      ++kept;
    } else if (wavelength > 8192) {
      EXPECT_EQ(scaled[j], plain[j] / 32);
      ++stretched;
    } else {
      EXPECT_GT(scaled[j], plain[j] / 32);
      EXPECT_LT(scaled[j], plain[j]);
      ++between;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(stretched, 0);
  EXPECT_GT(between, 0);
}

}  // namespace
}  // namespace assay
