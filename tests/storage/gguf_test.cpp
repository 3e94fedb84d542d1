// GGUF files as models: configuration, tensors, and what is refused.
#include "assay/storage/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "assay/base/error.h"
#include "tests/storage/gguf_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

CheckpointPtr read(const std::string& file, const OpenOptions& options = {}) {
  return read_gguf(std::as_bytes(std::span(file)), "x.gguf", nullptr, options);
}
CheckpointPtr read(const GgufBuilder& builder) {
  return read(builder.build());
}

TEST(Gguf, OpensAFile) {
  const TemporaryFolder folder;
  write_bytes(folder.file("tiny.gguf"), tiny_gguf().build());
  const CheckpointPtr model = open_gguf(folder.file("tiny.gguf"));
  EXPECT_EQ(model->container, Container::gguf);
  EXPECT_EQ(model->files, std::vector<std::string>{folder.file("tiny.gguf")});
  ASSERT_EQ(model->tensors.size(), 11u);
  EXPECT_TRUE(std::is_sorted(model->tensors.begin(), model->tensors.end(),
                             [](const Tensor& a, const Tensor& b) { return a.name < b.name; }));
  EXPECT_TRUE(model->warnings.empty());
  const Tensor& down = model->at("model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(down.shape, (Shape{32, 64}));
  EXPECT_EQ(down.format->name(), "q8_0");
  std::vector<float> row(64);
  decode_rows(down, 31, 1, row);
  EXPECT_EQ(row[0], -16.0f / 128);
  EXPECT_EQ(row[63], 15.0f / 128);
  EXPECT_ERROR(open_gguf(folder.file("absent.gguf")), "absent.gguf", "cannot open");
}

TEST(Gguf, MetadataBecomesTheConfig) {
  const CheckpointPtr model = read(tiny_gguf());
  const Json expected = Json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 16, "rms_norm_eps": 0.5, "rope_parameters": {"rope_type": "default", "rope_theta": 50000.0},
    "max_position_embeddings": 128, "vocab_size": 8, "tie_word_embeddings": true, "attention_bias": false,
    "mlp_bias": false, "bos_token_id": 1, "eos_token_id": [0]})");
  EXPECT_EQ(model->config, expected);
  EXPECT_EQ(Json::parse(model->sidecars.at("config.json")), expected);
}

TEST(Gguf, OptionalKeysHaveTheirDefaults) {
  GgufBuilder file = tiny_gguf();
  file.remove("llama.rope.freq_base").remove("llama.vocab_size").remove("llama.attention.head_count_kv");
  file.tensor("blk.0.attn_k.weight") = {"blk.0.attn_k.weight", {32, 32}, 0, f32_ramp(1024), {}};
  const Json config = read(file)->config;
  EXPECT_EQ(config.at("rope_parameters").at("rope_theta"), 10000.0);
  EXPECT_EQ(config.at("vocab_size"), 8);
  EXPECT_EQ(config.at("num_key_value_heads"), 2);
}

GgufBuilder tiny_qwen3() {
  GgufBuilder file = tiny_gguf();
  for (auto& [key, value] : file.keys)
    if (key.starts_with("llama.")) key = "qwen3" + key.substr(5);
  file.set("general.architecture", string_value("qwen3"))
      .set("tokenizer.ggml.pre", string_value("qwen2"))
      .set("qwen3.attention.key_length", u32_value(16))
      .set("qwen3.attention.value_length", u32_value(16));
  file.add({"blk.0.attn_q_norm.weight", {16}, 0, f32_ramp(16), {}})
      .add({"blk.0.attn_k_norm.weight", {16}, 0, f32_ramp(16), {}})
      .add({"output.weight", {32, 8}, 8, q8_0_blocks(8), {}});
  return file;
}

TEST(Gguf, ReadsQwen3) {
  const CheckpointPtr model = read(tiny_qwen3());
  EXPECT_EQ(model->config.at("model_type"), "qwen3");
  EXPECT_EQ(model->config.at("architectures"), Json::array({"Qwen3ForCausalLM"}));
  EXPECT_EQ(model->config.at("tie_word_embeddings"), false);
  EXPECT_EQ(model->at("lm_head.weight").shape, (Shape{8, 32}));
  EXPECT_EQ(model->at("model.layers.0.self_attn.q_norm.weight").shape, (Shape{16}));
  for (const Tensor& tensor : model->tensors) EXPECT_EQ(tensor.stored.heads, 0u) << tensor.name;
}

TEST(Gguf, ReadsQwen2WithItsBiasesInOrder) {
  GgufBuilder file = tiny_gguf();
  for (auto& [key, value] : file.keys)
    if (key.starts_with("llama.")) key = "qwen2" + key.substr(5);
  file.set("general.architecture", string_value("qwen2")).set("tokenizer.ggml.pre", string_value("qwen2"));
  file.add({"blk.0.attn_q.bias", {32}, 0, f32_ramp(32), {}})
      .add({"blk.0.attn_k.bias", {16}, 0, f32_ramp(16), {}})
      .add({"blk.0.attn_v.bias", {16}, 0, f32_ramp(16), {}});
  const CheckpointPtr model = read(file);
  EXPECT_EQ(model->config.at("model_type"), "qwen2");
  EXPECT_EQ(model->config.at("architectures"), Json::array({"Qwen2ForCausalLM"}));
  EXPECT_EQ(model->at("model.layers.0.self_attn.k_proj.bias").shape, (Shape{16}));
  for (const Tensor& tensor : model->tensors) EXPECT_EQ(tensor.stored.heads, 0u) << tensor.name;
  EXPECT_ERROR(read(tiny_gguf().set("general.architecture", string_value("gpt2"))),
               "architecture gpt2 is not supported (llama, qwen2, qwen3 and qwen3moe are)");
}

// The converter of Llama files moves row [h, p, j] of q and k, p one of two halves, to [h, j, p].
TEST(Gguf, LlamaRowsOfQAndKComeBackInOrder) {
  const std::uint64_t head_dim = 16, columns = 32;
  std::string stored_k, stored_q;
  const auto permuted = [&](std::uint64_t heads) {
    std::string bytes;
    for (std::uint64_t h = 0; h < heads; ++h)
      for (std::uint64_t j = 0; j < head_dim / 2; ++j)
        for (std::uint64_t p = 0; p < 2; ++p)
          for (std::uint64_t c = 0; c < columns; ++c)
            bytes +=
                raw(static_cast<float>(h * head_dim + p * head_dim / 2 + j));  // the logical row's number
    return bytes;
  };
  GgufBuilder file = tiny_gguf();
  file.tensor("blk.0.attn_q.weight") = {"blk.0.attn_q.weight", {32, 32}, 0, permuted(2), {}};
  file.tensor("blk.0.attn_k.weight") = {"blk.0.attn_k.weight", {32, 16}, 0, permuted(1), {}};
  const std::string bytes = file.build();
  const CheckpointPtr model = read(bytes);
  EXPECT_EQ(model->at("model.layers.0.self_attn.q_proj.weight").stored.heads, 2u);
  EXPECT_EQ(model->at("model.layers.0.self_attn.k_proj.weight").stored.heads, 1u);
  EXPECT_EQ(model->at("model.layers.0.self_attn.v_proj.weight").stored.heads, 0u);
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"}) {
    const Tensor& tensor = model->at(name);
    const std::vector<float> weights = decode_all(tensor);
    for (std::uint64_t row = 0; row < tensor.shape[0]; ++row)
      EXPECT_EQ(weights[row * columns], static_cast<float>(row)) << name;
  }
}

TEST(Gguf, RefusesRowsThatAreNoHeads) {
  GgufBuilder file = tiny_gguf();
  file.tensor("blk.0.attn_k.weight") = {"blk.0.attn_k.weight", {32, 15}, 0, f32_ramp(480), {}};
  EXPECT_ERROR(read(file), "x.gguf: tensor model.layers.0.self_attn.k_proj.weight: 15 rows are not 1 heads");
  file = tiny_gguf();
  file.add({"blk.0.attn_q.bias", {32}, 0, f32_ramp(32), {}});
  EXPECT_ERROR(read(file), "q_proj.bias", "permutes");
}

TEST(Gguf, RefusesWhatItDoesNotKnow) {
  EXPECT_ERROR(read(tiny_gguf().set("general.architecture", string_value("gemma3"))), "architecture gemma3");
  EXPECT_ERROR(read(tiny_gguf().set("general.type", string_value("adapter"))), "general.type is adapter");
  EXPECT_ERROR(read(tiny_gguf().set("split.count", u32_value(2))), "one of 2 parts");
  EXPECT_ERROR(read(tiny_gguf().set("llama.attention.sliding_window", u32_value(128))),
               "key llama.attention.sliding_window is not supported");
  EXPECT_ERROR(
      read(tiny_gguf().set("tokenizer.ggml.precompiled_charsmap", numbers_value<float>(GgufType::f32, {}))),
      "key tokenizer.ggml.precompiled_charsmap is not supported");
  EXPECT_ERROR(read(tiny_gguf().set("llama.expert_count", u32_value(8))), "llama.expert_count is 8",
               "experts");
  EXPECT_ERROR(read(tiny_gguf().add({"blk.0.attn_qkv.weight", {32}, 0, f32_ramp(32), {}})),
               "tensor blk.0.attn_qkv.weight: no tensor of a llama model of 1 layers");
  EXPECT_ERROR(read(tiny_gguf().add({"blk.1.ffn_norm.weight", {32}, 0, f32_ramp(32), {}})),
               "blk.1.ffn_norm.weight");
  EXPECT_NO_THROW(read(tiny_gguf().set("split.count", u32_value(1)).set("llama.expert_count", u32_value(0))));
}

TEST(Gguf, WarnsOfForeignKeys) {
  const CheckpointPtr model =
      read(tiny_gguf().set("somebody.version", u32_value(2)).set("quantize.imatrix.file", string_value("x")));
  ASSERT_EQ(model->warnings.size(), 1u);
  EXPECT_EQ(model->warnings[0], "x.gguf: key somebody.version is not known and was ignored");
}

TEST(Gguf, RefusesMissingAndMistypedKeys) {
  for (const char* key :
       {"general.architecture", "llama.block_count", "llama.context_length", "llama.embedding_length",
        "llama.feed_forward_length", "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges"}) {
    EXPECT_ERROR(read(tiny_gguf().remove(key)), "x.gguf: key ", key, "is missing");
    EXPECT_ERROR(read(tiny_gguf().set(key, bool_value(true))), "x.gguf: key ", key, "has another type");
  }
  EXPECT_ERROR(read(tiny_gguf().set("llama.block_count", gguf_value(GgufType::i32, raw(-1)))),
               "llama.block_count is -1");
  EXPECT_NO_THROW(read(tiny_gguf().set("llama.block_count", gguf_value(GgufType::i32, raw(1)))));
  EXPECT_ERROR(read(tiny_gguf().set("llama.rope.freq_base", f32_value(std::nanf("")))), "finite");
  EXPECT_ERROR(read(tiny_gguf().set("tokenizer.ggml.token_type", numbers_value<float>(GgufType::f32, {}))),
               "tokenizer.ggml.token_type has another element type");
}

TEST(Gguf, RefusesSizesThatDisagree) {
  EXPECT_ERROR(read(tiny_gguf().set("llama.vocab_size", u32_value(9))), "llama.vocab_size is 9", "8 rows");
  EXPECT_ERROR(read(tiny_gguf().set("llama.rope.dimension_count", u32_value(8))),
               "llama.rope.dimension_count is 8", "head dimension 16");
  EXPECT_ERROR(read(tiny_gguf().set("llama.attention.value_length", u32_value(8))), "value_length is 8");
  EXPECT_ERROR(read(tiny_gguf().set("llama.attention.head_count", u32_value(0))), "0 heads do not divide");
  EXPECT_ERROR(read(tiny_gguf().set("llama.attention.head_count", u32_value(3))), "3 heads do not divide");
  GgufBuilder file = tiny_gguf();
  std::erase_if(file.tensors, [](const BuiltTensor& tensor) { return tensor.name == "token_embd.weight"; });
  EXPECT_ERROR(read(file), "tensor token_embd.weight is missing");
}

TEST(Gguf, HoldsShapesAgainstTheArchitecture) {
  OpenOptions options;
  Shape expected = {64, 32};
  options.architecture = [&](const Json& config) {
    EXPECT_EQ(config.at("model_type"), "llama");
    return std::vector<ExpectedTensor>{{"model.layers.0.mlp.up_proj.weight", expected}};
  };
  const std::string file = tiny_gguf().build();
  EXPECT_NO_THROW(read(file, options));
  expected = {32, 64};
  EXPECT_ERROR(read(file, options), "tensor model.layers.0.mlp.up_proj.weight: shape is [64, 32]",
               "architecture says [32, 64]");
}

TEST(Gguf, RefusesRopeScalingInTheMetadata) {
  EXPECT_ERROR(read(tiny_gguf().set("llama.rope.scaling.type", string_value("yarn"))),
               "rope.scaling.type is yarn");
  EXPECT_ERROR(read(tiny_gguf().set("llama.rope.scaling.factor", f32_value(4))), "rope.scaling.factor is 4");
  EXPECT_ERROR(read(tiny_gguf().set("llama.rope.scale_linear", f32_value(2))), "rope.scale_linear is 2");
  EXPECT_NO_THROW(read(tiny_gguf()
                           .set("llama.rope.scaling.type", string_value("none"))
                           .set("llama.rope.scaling.factor", f32_value(1))));
}

// Llama 3's rule (docs/formats.md, "RoPE") as its converter stores it: what each frequency is divided by.
std::string llama3_factors(double theta, double factor) {
  std::string bytes;
  for (int j = 0; j < 8; ++j) {
    const double wavelength = 2 * std::numbers::pi * std::pow(theta, j / 8.0);
    const double t = (8192 / wavelength - 1) / 3;
    const double divisor = wavelength > 8192 ? factor : wavelength < 2048 ? 1 : 1 / ((1 - t) / factor + t);
    bytes += raw(static_cast<float>(divisor));
  }
  return bytes;
}

TEST(Gguf, RecognisesLlama3RopeFactors) {
  GgufBuilder file = tiny_gguf();
  file.add({"rope_freqs.weight", {8}, 0, llama3_factors(50000, 32), {}});
  const CheckpointPtr model = read(file);
  EXPECT_EQ(
      model->config.at("rope_parameters"),
      Json::parse(R"({"rope_type": "llama3", "rope_theta": 50000.0, "factor": 32.0, "low_freq_factor": 1.0,
                            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192})"));
  EXPECT_EQ(model->tensors.size(), 11u);  // no tensor of the model

  BuiltTensor& factors = file.tensor("rope_freqs.weight");
  factors.data = llama3_factors(50000, 32).replace(20, 4, raw(2.0f));
  EXPECT_ERROR(read(file), "tensor rope_freqs.weight: element 5 is 2", "not supported");
  factors.data = f32_ramp(8);
  EXPECT_ERROR(read(file), "rope_freqs.weight: the last factor is 0.109375");
  factors.data = llama3_factors(50000, 32).replace(28, 4, raw(std::nanf("")));
  EXPECT_ERROR(read(file), "rope_freqs.weight: the last factor is nan");
  factors = {"rope_freqs.weight", {4}, 0, f32_ramp(4), {}};
  EXPECT_ERROR(read(file), "rope_freqs.weight", "[4]", "[8] expected");
}

}  // namespace
}  // namespace assay
