#include "assay/model/config.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/model/families/families.h"
#include "tests/support.h"

namespace assay {
namespace {

Json qwen3() {
  return Json::parse(
      R"({"model_type": "qwen3", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 8192,
    "max_position_embeddings": 1024, "rms_norm_eps": 1e-06, "hidden_act": "silu", "tie_word_embeddings": true,
    "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"}, "eos_token_id": 5,
    "sliding_window": null, "use_sliding_window": false, "max_window_layers": 4,
    "layer_types": ["full_attention", "full_attention", "full_attention", "full_attention"]})");
}

/// As the first Llama files were written: no theta, no key/value heads, no head_dim.
Json old_llama() {
  return Json::parse(
      R"({"model_type": "llama", "hidden_size": 320, "intermediate_size": 1000, "num_hidden_layers": 3,
    "num_attention_heads": 5, "vocab_size": 8192, "max_position_embeddings": 2048, "rms_norm_eps": 1e-05,
    "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "pretraining_tp": 1, "use_cache": true})");
}

ModelConfig parse_config(const Json& config) {
  return parse_model_config(config, nullptr, "folder");
}

/// The same config with one key set.
Json config_with(Json config, const char* key, const Json& value) {
  config[key] = value;
  return config;
}

Json without(Json config, const char* key) {
  config.erase(key);
  return config;
}

TEST(ModelConfig, ReadsQwen3) {
  const ModelConfig config = parse_config(qwen3());
  EXPECT_EQ(config.family->model_type, "qwen3");
  EXPECT_EQ(config.layers, 4);
  EXPECT_EQ(config.hidden, 256);
  EXPECT_EQ(config.intermediate, 768);
  EXPECT_EQ(config.vocabulary, 8192);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.max_positions, 1024);
  EXPECT_EQ(config.norm_epsilon, 1e-6f);
  EXPECT_EQ(config.rope_theta, 1e6);
  EXPECT_FALSE(config.rope_scaling);
  EXPECT_TRUE(config.tied_head);
  EXPECT_TRUE(config.query_key_norm);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.end_tokens, std::vector<std::int32_t>{5});
}

TEST(ModelConfig, FillsWhatOldLlamaFilesLeaveOut) {
  const ModelConfig config = parse_config(old_llama());
  EXPECT_EQ(config.family->model_type, "llama");
  EXPECT_EQ(config.kv_heads, 5);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_FALSE(config.tied_head);
  EXPECT_FALSE(config.query_key_norm);
}

TEST(ModelConfig, HeadDimMayDifferFromHiddenOverHeads) {
  EXPECT_EQ(parse_config(config_with(qwen3(), "head_dim", 128)).head_dim, 128);
  EXPECT_EQ(parse_config(config_with(qwen3(), "head_dim", nullptr)).head_dim, 64);
  EXPECT_ERROR(parse_config(config_with(without(qwen3(), "head_dim"), "hidden_size", 258)), "folder",
               "head_dim", "258");
}

TEST(ModelConfig, ReadsThetaFromEitherPlace) {
  const Json scalar = config_with(without(qwen3(), "rope_parameters"), "rope_theta", 5000.0);
  EXPECT_EQ(parse_config(scalar).rope_theta, 5000);
  EXPECT_EQ(parse_config(config_with(qwen3(), "rope_theta", 1000000)).rope_theta, 1e6);
  EXPECT_EQ(parse_config(config_with(qwen3(), "rope_theta", 10000)).rope_theta, 1e6);
  EXPECT_ERROR(parse_config(without(qwen3(), "rope_parameters")), "rope_theta");
}

TEST(ModelConfig, ReadsLlama3ScalingFromEitherPlace) {
  const Json scaling = Json::parse(R"({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})");
  const ModelConfig older =
      parse_config(config_with(config_with(old_llama(), "rope_theta", 500000.0), "rope_scaling", scaling));
  ASSERT_TRUE(older.rope_scaling);
  EXPECT_EQ(older.rope_scaling->factor, 32);
  EXPECT_EQ(older.rope_scaling->original_length, 8192);
  EXPECT_EQ(older.rope_theta, 500000);
  const ModelConfig newer =
      parse_config(config_with(old_llama(), "rope_parameters", config_with(scaling, "rope_theta", 500000.0)));
  EXPECT_EQ(newer.rope_scaling, older.rope_scaling);
  EXPECT_EQ(newer.rope_theta, 500000);
  for (const char* key :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    EXPECT_ERROR(parse_config(config_with(old_llama(), "rope_scaling", without(scaling, key))), key);
    EXPECT_ERROR(parse_config(config_with(old_llama(), "rope_scaling", config_with(scaling, key, -1))), key);
  }
  EXPECT_ERROR(
      parse_config(config_with(old_llama(), "rope_scaling", config_with(scaling, "low_freq_factor", 4))),
      "low_freq_factor");
  EXPECT_ERROR(parse_config(config_with(old_llama(), "rope_scaling", config_with(scaling, "factor", 0.5))),
               "factor");
}

TEST(ModelConfig, ReadsTheNestedTextConfig) {
  Json nested = {{"model_type", "some_vision_model"}, {"text_config", qwen3()}};
  EXPECT_EQ(parse_config(nested).hidden, 256);
  EXPECT_TRUE(parse_config(nested).tied_head);
  nested["tie_word_embeddings"] = false;  // the top level wins
  EXPECT_FALSE(parse_config(nested).tied_head);
  EXPECT_EQ(parse_config(nested).end_tokens, (std::vector<std::int32_t>{5}));
  nested["eos_token_id"] = {7, 5};
  EXPECT_EQ(parse_config(nested).end_tokens, (std::vector<std::int32_t>{7, 5}));
}

TEST(ModelConfig, CollectsEndTokens) {
  const Json generation = {{"eos_token_id", {8189, 8191, 8189}}};
  EXPECT_EQ(parse_model_config(qwen3(), &generation, "folder").end_tokens,
            (std::vector<std::int32_t>{8189, 8191}));
  EXPECT_TRUE(parse_config(config_with(qwen3(), "eos_token_id", nullptr)).end_tokens.empty());
  EXPECT_ERROR(parse_config(config_with(qwen3(), "eos_token_id", 8192)), "eos_token_id", "8192");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "eos_token_id", "end")), "eos_token_id");
}

TEST(ModelConfig, NamesUnsupportedAndSupportedModels) {
  EXPECT_ERROR(parse_config(config_with(qwen3(), "model_type", "gpt_oss")), "folder", "gpt_oss", "llama",
               "qwen3");
  EXPECT_ERROR(parse_config(without(qwen3(), "model_type")), "model_type");
  EXPECT_ERROR(parse_config(Json::array()), "folder");
}

TEST(ModelConfig, RefusesMissingAndAbsurdSizes) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "vocab_size", "max_position_embeddings"}) {
    EXPECT_ERROR(parse_config(without(qwen3(), key)), "folder", key);
    EXPECT_ERROR(parse_config(config_with(qwen3(), key, 0)), key, "0");
    EXPECT_ERROR(parse_config(config_with(qwen3(), key, -4)), key);
    EXPECT_ERROR(parse_config(config_with(qwen3(), key, 2147483647)), key, "2147483647");
    EXPECT_ERROR(parse_config(config_with(qwen3(), key, 18446744073709551615u)), key);
    EXPECT_ERROR(parse_config(config_with(qwen3(), key, "256")), key);
    EXPECT_ERROR(parse_config(config_with(qwen3(), key, 256.5)), key);
  }
  EXPECT_ERROR(parse_config(without(qwen3(), "rms_norm_eps")), "rms_norm_eps");
  for (const Json& epsilon : {Json(0), Json(-1e-6), Json(1)})
    EXPECT_ERROR(parse_config(config_with(qwen3(), "rms_norm_eps", epsilon)), "rms_norm_eps");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "num_key_value_heads", 3)), "num_key_value_heads", "3");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "head_dim", 63)), "head_dim", "63");
  EXPECT_ERROR(
      parse_config(config_with(config_with(qwen3(), "head_dim", 16384), "num_attention_heads", 16384)),
      "16384");
}

// Whatever the forward pass would silently leave out.
TEST(ModelConfig, RefusesWhatItWouldIgnore) {
  EXPECT_ERROR(parse_config(config_with(qwen3(), "hidden_act", "gelu")), "hidden_act", "gelu", "silu");
  EXPECT_ERROR(parse_config(config_with(old_llama(), "pretraining_tp", 2)), "pretraining_tp", "2");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "partial_rotary_factor", 0.25)), "partial_rotary_factor");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "attn_logit_softcapping", 50.0)), "attn_logit_softcapping");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "num_experts", 16)), "num_experts", "16");
  EXPECT_NO_THROW(parse_config(config_with(qwen3(), "num_experts", 0)));
  EXPECT_ERROR(parse_config(config_with(qwen3(), "mlp_bias", true)), "mlp_bias");
  for (const char* type : {"linear", "yarn", "dynamic", "longrope"}) {
    EXPECT_ERROR(parse_config(config_with(old_llama(), "rope_scaling", {{"type", type}, {"factor", 2.0}})),
                 type, "llama3");
    EXPECT_ERROR(
        parse_config(config_with(qwen3(), "rope_parameters", {{"rope_type", type}, {"rope_theta", 1e4}})),
        type);
  }
  EXPECT_ERROR(parse_config(config_with(old_llama(), "rope_scaling", {{"factor", 2.0}})), "factor");
  EXPECT_ERROR(
      parse_config(config_with(old_llama(), "rope_scaling", {{"type", "default"}, {"rope_type", "linear"}})),
      "linear");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "rope_parameters",
                                        {{"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}})),
               "partial_rotary_factor");
  EXPECT_ERROR(parse_config(config_with(qwen3(), "rope_parameters",
                                        {{"rope_theta", 1e4}, {"full_attention", {{"factor", 8}}}})),
               "full_attention");
}

TEST(ModelConfig, RefusesSlidingWindowsInUse) {
  EXPECT_NO_THROW(parse_config(config_with(qwen3(), "sliding_window", 4096)));  // switched off
  Json windowed = config_with(config_with(without(qwen3(), "layer_types"), "sliding_window", 4096),
                              "use_sliding_window", true);
  EXPECT_NO_THROW(parse_config(windowed));  // max_window_layers = 4: no layer uses it
  windowed["max_window_layers"] = 2;
  EXPECT_ERROR(parse_config(windowed), "sliding_window", "4096");
  EXPECT_ERROR(parse_config(config_with(old_llama(), "sliding_window", 4096)), "sliding_window");
  Json mixed = qwen3();
  mixed["layer_types"][2] = "sliding_attention";
  EXPECT_ERROR(parse_config(mixed), "layer_types", "sliding_attention");
  mixed["layer_types"] = {"full_attention"};
  EXPECT_ERROR(parse_config(mixed), "layer_types", "4");
}

TEST(ModelConfig, ReadsBiases) {
  const ModelConfig config =
      parse_config(config_with(config_with(old_llama(), "attention_bias", true), "mlp_bias", true));
  EXPECT_TRUE(config.attention_bias);
  EXPECT_TRUE(config.output_bias);
  EXPECT_TRUE(config.mlp_bias);
}

// As Qwen2.5's folders have it.
TEST(ModelConfig, ReadsQwen2) {
  const Json qwen2 = Json::parse(
      R"({"model_type": "qwen2", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 4,
          "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 500, "rms_norm_eps": 1e-6,
          "max_position_embeddings": 256, "rope_theta": 1000000.0, "sliding_window": 32,
          "use_sliding_window": false, "max_window_layers": 2, "tie_word_embeddings": true})");
  const ModelConfig config = parse_config(qwen2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rotary_dim, 16);
  EXPECT_TRUE(config.tied_head);
  EXPECT_FALSE(config.query_key_norm);
  // Its biases are no matter of the config.
  for (const bool told : {false, true}) {
    const ModelConfig biased = parse_config(config_with(qwen2, "attention_bias", told));
    EXPECT_TRUE(biased.attention_bias);
    EXPECT_FALSE(biased.output_bias);
  }
  EXPECT_ERROR(parse_config(config_with(qwen2, "mlp_bias", true)), "mlp_bias", "'qwen2'");
  EXPECT_ERROR(parse_config(config_with(qwen2, "use_sliding_window", true)), "sliding_window 32");
  EXPECT_ERROR(parse_config(without(qwen2, "rope_theta")), "rope_theta");
}

}  // namespace
}  // namespace assay
