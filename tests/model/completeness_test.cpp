#include "assay/model/completeness.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/model/config_spellings.h"
#include "tests/model/reference_forward.h"
#include "tests/support.h"

namespace assay {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Json moe() {
  return {{"model_type", "qwen3_moe"},
          {"hidden_size", 40},
          {"intermediate_size", 56},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 6},
          {"num_key_value_heads", 2},
          {"head_dim", 8},
          {"vocab_size", 50},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 500.0},
          {"tie_word_embeddings", true},
          {"num_experts", 3},
          {"num_experts_per_tok", 2},
          {"moe_intermediate_size", 24},
          {"mlp_only_layers", {0}}};
}

/// The random model of a config under another config.
Completeness state_of(const Json& written, const Json& config) {
  test::MemoryModel model(written);
  model.config = config;
  return check_completeness(*model.checkpoint());
}

Json with(Json config, const char* key, const Json& value) {
  config[key] = value;
  return config;
}

TEST(Completeness, WholeModelsAreWhole) {
  EXPECT_TRUE(state_of(moe(), moe()).whole());
  EXPECT_TRUE(state_of(moe(), moe()).known);
  EXPECT_EQ(state_of(moe(), moe()).summary(), "");
}

TEST(Completeness, NamesWhatIsMissing) {
  for (const char* name :
       {"model.embed_tokens.weight", "model.norm.weight", "model.layers.1.self_attn.q_norm.weight",
        "model.layers.1.mlp.experts.2.up_proj.weight", "model.layers.0.mlp.down_proj.weight"}) {
    test::MemoryModel model(moe());
    model.values.erase(name);
    const Completeness state = check_completeness(*model.checkpoint());
    EXPECT_THAT(state.missing, ElementsAre(name));
    EXPECT_THAT(state.surplus, IsEmpty()) << name;
    EXPECT_THAT(state.summary(), HasSubstr(std::string("tensor ") + name + " is missing"));
  }
}

TEST(Completeness, ConfigsThatContradictTheWeights) {
  const Completeness deeper = state_of(moe(), with(moe(), "num_hidden_layers", 3));
  EXPECT_EQ(deeper.missing.size(), 18u);
  EXPECT_EQ(deeper.missing[0], "model.layers.2.input_layernorm.weight");
  const Completeness flatter = state_of(moe(), with(moe(), "num_hidden_layers", 1));
  EXPECT_THAT(flatter.missing, IsEmpty());
  EXPECT_EQ(flatter.surplus.size(), 18u);
  EXPECT_THAT(flatter.summary(), HasSubstr("no such tensor"));
  const Completeness vocabulary = state_of(moe(), with(moe(), "vocab_size", 49));
  ASSERT_EQ(vocabulary.misshapen.size(), 1u);
  EXPECT_EQ(vocabulary.misshapen[0].tensor, "model.embed_tokens.weight");
  EXPECT_EQ(vocabulary.misshapen[0].found, (Shape{50, 40}));
  EXPECT_EQ(vocabulary.misshapen[0].expected, (Shape{49, 40}));
  EXPECT_FALSE(state_of(moe(), with(moe(), "num_experts", 4)).whole());
  EXPECT_FALSE(state_of(moe(), with(moe(), "num_experts", 2)).whole());
  EXPECT_FALSE(state_of(moe(), with(moe(), "mlp_only_layers", Json::array())).whole());
  EXPECT_FALSE(state_of(moe(), with(moe(), "tie_word_embeddings", false)).whole());
  EXPECT_FALSE(state_of(moe(), with(moe(), "attention_bias", true)).whole());
  EXPECT_FALSE(state_of(moe(), with(moe(), "model_type", "qwen3")).whole());
  Json without = moe();
  without.erase("hidden_size");
  EXPECT_THAT(state_of(moe(), without).problem, HasSubstr("hidden_size"));
}

TEST(Completeness, PrefixesAndOtherNamesOfTheHeadAreThoseThatAreThere) {
  test::MemoryModel model(with(moe(), "tie_word_embeddings", false));
  test::MemoryModel other = model;
  other.values.clear();
  other.shapes.clear();
  for (const auto& [name, values] : model.values) {
    const std::string renamed = "language_model." + name;
    other.values[renamed] = values;
    other.shapes[renamed] = model.shapes[name];
  }
  EXPECT_TRUE(check_completeness(*other.checkpoint()).whole())
      << check_completeness(*other.checkpoint()).summary();
  other.values["model.norm.weight"] = model.values["model.norm.weight"];
  other.shapes["model.norm.weight"] = model.shapes["model.norm.weight"];
  EXPECT_THAT(check_completeness(*other.checkpoint()).surplus, ElementsAre("model.norm.weight"));
}

TEST(Completeness, PartsThatATextModelMayLeaveOutAreNoSurplus) {
  test::MemoryModel model(moe());
  std::mt19937 random(1);
  for (const char* name : {"mtp.fc.weight", "model.visual.patch_embed.proj.weight", "lm_head.weight"})
    model.add(name, {50, 40}, random);
  EXPECT_TRUE(check_completeness(*model.checkpoint()).whole());
  model.add("model.layers.0.self_attn.rotary.inv_freq", {4}, random);
  EXPECT_THAT(check_completeness(*model.checkpoint()).surplus,
              ElementsAre("model.layers.0.self_attn.rotary.inv_freq"));
}

TEST(Completeness, UnknownArchitecturesAreSaidToBeUnknown) {
  const Completeness state = state_of(moe(), with(moe(), "model_type", "gpt2"));
  EXPECT_FALSE(state.known);
  EXPECT_EQ(state.model_type, "gpt2");
  EXPECT_TRUE(state.whole());
  test::MemoryModel model(moe());
  model.config["model_type"] = "gpt2";
  const CheckpointPtr checkpoint = model.checkpoint();
  ASSERT_TRUE(why_not_runnable(*checkpoint));
  EXPECT_THAT(*why_not_runnable(*checkpoint), HasSubstr("gpt2"));
  EXPECT_ERROR(require_runnable(*checkpoint, false), "gpt2", "--unknown");
  EXPECT_NO_THROW(require_runnable(*checkpoint, true));
}

// A kilobyte of config may ask for millions of tensors: they are told until it is clear that they are not
// there.
TEST(Completeness, HostileConfigsCostNothing) {
  Json config = moe();
  config.update({{"num_hidden_layers", 4096}, {"num_experts", 65536}, {"mlp_only_layers", Json::array()}});
  std::size_t told = 0;
  EXPECT_TRUE(tell_expected_tensors(config, [&](const ExpectedTensor&) { return ++told < 5000; }));
  EXPECT_EQ(told, 5000u);
  EXPECT_EQ(expected_tensors(config, 7)->size(), 7u);
  const Completeness state = state_of(moe(), config);
  EXPECT_TRUE(state.cut);
  EXPECT_EQ(state.missing.size(), 1000u);
  EXPECT_THAT(state.summary(), HasSubstr("at least missing"));
  config["num_experts"] = std::uint64_t{1} << 31;
  EXPECT_THAT(state_of(moe(), config).problem, HasSubstr("num_experts"));
  config["num_hidden_layers"] = std::uint64_t{1} << 31;
  EXPECT_THAT(state_of(moe(), config).problem, HasSubstr("num_hidden_layers"));
}

// ---- One quantity under two keys: transformers 5 decides

ModelConfig parse(const Json& config) {
  return parse_model_config(config, nullptr, "folder");
}

std::vector<std::string> notes(const Json& config, const std::string& generation = "") {
  Checkpoint checkpoint;
  checkpoint.path = "folder";
  checkpoint.config = config;
  if (!generation.empty()) checkpoint.sidecars["generation_config.json"] = generation;
  return disagreeing_spellings(checkpoint);
}

Json next() {
  Json config = moe();
  config.update({{"model_type", "qwen3_next"},
                 {"mlp_only_layers", Json::array()},
                 {"shared_expert_intermediate_size", 16},
                 {"linear_num_key_heads", 2},
                 {"linear_num_value_heads", 4},
                 {"linear_key_head_dim", 8},
                 {"linear_value_head_dim", 8},
                 {"linear_conv_kernel_dim", 4}});
  config.erase("rope_theta");
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}};
  return config;
}

TEST(Spellings, WhatRopeParametersSayGoesBeforeTheKeysBeside) {
  EXPECT_EQ(parse(next()).rotary_dim, 4);
  EXPECT_THAT(notes(next()), IsEmpty());
  const Json both = with(next(), "partial_rotary_factor", 0.25);
  EXPECT_EQ(parse(both).rotary_dim, 4);
  EXPECT_THAT(notes(both), ElementsAre(HasSubstr("rope_parameters.partial_rotary_factor is 0.5")));
  Json older = with(next(), "partial_rotary_factor", 0.25);
  older["rope_parameters"].erase("partial_rotary_factor");
  EXPECT_EQ(parse(older).rotary_dim, 2);
  const Json theta = with(next(), "rope_theta", 5e5);
  EXPECT_EQ(parse(theta).rope_theta, 1e4);
  EXPECT_THAT(notes(theta),
              ElementsAre(HasSubstr("rope_parameters.rope_theta is 10000.0, rope_theta is 500000")));
}

TEST(Spellings, RopeScalingTakesThePlaceOfRopeParameters) {
  Json config = with(next(), "rope_scaling", {{"type", "default"}, {"rope_theta", 7.0}});
  EXPECT_EQ(parse(config).rope_theta, 7);
  EXPECT_EQ(parse(config).rotary_dim, 2) << "the family's quarter: rope_parameters do not count";
  EXPECT_THAT(notes(config), ElementsAre(HasSubstr("rope_scaling is")));
  config["rope_scaling"].erase("rope_theta");
  EXPECT_EQ(parse(config).rope_theta, 10000);
  config["rope_scaling"] = nullptr;
  EXPECT_EQ(parse(config).rotary_dim, 4);
  config["rope_scaling"] = Json::object();
  EXPECT_EQ(parse(config).rotary_dim, 4);
  config["rope_parameters"]["type"] = "yarn";
  EXPECT_NO_THROW(parse(config));
  EXPECT_THAT(notes(config), ElementsAre(HasSubstr("rope_parameters.rope_type is \"default\"")));
}

TEST(Spellings, ExpertCounts) {
  const Json mixture = with(moe(), "num_local_experts", 4);
  EXPECT_EQ(parse(mixture).mixture.experts, 4) << "qwen3_moe maps num_experts onto it";
  EXPECT_THAT(notes(mixture), ElementsAre(HasSubstr("num_local_experts counts")));
  EXPECT_FALSE(state_of(moe(), mixture).whole());
  const Json hybrid = with(next(), "num_local_experts", 4);
  EXPECT_EQ(parse(hybrid).mixture.experts, 3);
  EXPECT_THAT(notes(hybrid), ElementsAre(HasSubstr("num_experts counts")));
}

TEST(Spellings, EndTokensOfTheGenerationConfig) {
  const Json generation = {{"eos_token_id", {8, 7}}}, silent = {{"temperature", 1}};
  const Json config = with(moe(), "eos_token_id", 5);
  EXPECT_THAT(parse_model_config(config, &generation, "folder").end_tokens, ElementsAre(8, 7));
  EXPECT_THAT(parse_model_config(config, &silent, "folder").end_tokens, ElementsAre(5));
  EXPECT_THAT(notes(config, generation.dump()), ElementsAre(HasSubstr("[8,7]")));
  EXPECT_THAT(notes(with(moe(), "eos_token_id", {7, 8}), generation.dump()), IsEmpty());
}

TEST(Spellings, NestedConfigs) {
  const Json nested = {{"model_type", "qwen3_5"},
                       {"text_config", next()},
                       {"tie_word_embeddings", false},
                       {"hidden_size", 99}};
  EXPECT_THAT(notes(nested), ElementsAre(HasSubstr("tie_word_embeddings is false, text_config.tie"),
                                         HasSubstr("text_config.hidden_size is 40, hidden_size is 99")));
}

TEST(Spellings, ATextModelHasNoOtherInside) {
  EXPECT_EQ(parse(with(moe(), "text_config", {{"model_type", "qwen3"}, {"hidden_size", 12}})).hidden, 40);
}

}  // namespace
}  // namespace assay
