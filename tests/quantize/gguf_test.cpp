// Models written as GGUF files and read back: the same logits, the same tokens of a text.
#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/quantize/quantize_model.h"
#include "assay/recipes/mlx_conventions.h"
#include "assay/runtime/session.h"
#include "tests/model/reference_forward.h"
#include "tests/quantize/generated_model.h"
#include "tests/support.h"

namespace assay::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A random model of a family under the bundled model's tokenizer.
class GgufModels : public testing::TestWithParam<const char*> {
 protected:
  Json config(const std::string& type) const {
    Json made = {{"model_type", type},       {"hidden_size", 64},
                 {"intermediate_size", 64},  {"num_hidden_layers", 2},
                 {"num_attention_heads", 2}, {"num_key_value_heads", 1},
                 {"head_dim", 32},           {"vocab_size", 8200},  // more than the tokenizer has
                 {"rms_norm_eps", 1e-6},     {"max_position_embeddings", 512},
                 {"rope_theta", 500.0},      {"tie_word_embeddings", type != "qwen2"}};
    if (type == "qwen3_moe")
      made.update({{"num_experts", 4},
                   {"num_experts_per_tok", 2},
                   {"moe_intermediate_size", 32},
                   {"norm_topk_prob", true}});
    if (type == "llama") {
      made["rope_theta"] = 500000.0;
      made["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192}};
    }
    return made;
  }
  std::string source(const Json& says) const { return source(says, says); }
  /// Tensors of `weights`, config.json of `says`.
  std::string source(const Json& weights, const Json& says) const {
    const std::string path = folder_.file("source");
    fs::remove_all(path);
    std::vector<GeneratedTensor> tensors;
    const auto expected = expected_tensors(weights);
    for (const ExpectedTensor& tensor : *expected) tensors.push_back({tensor.name, tensor.shape});
    write_model(path, says, tensors);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
      fs::copy(demo_model() + "/" + file, path + "/" + file);
    return path;
  }
  std::string quantised(const std::string& model, const Recipe& recipe, Container container,
                        const std::string& out) const {
    QuantizeRequest request;
    request.source = open_model(model);
    request.recipe = recipe;
    request.plan.container = container;
    request.out = folder_.file(out);
    quantize_model(request);
    return request.out;
  }

  TemporaryFolder folder_;
};

std::vector<float> logits_of_some_tokens(const std::string& path) {
  const std::vector<TokenId> prompt = {50, 1, 2, 2, 8191, 330, 47, 1200, 0, 26};
  return compute_logits(*Model::load(open_model(path)), prompt, 0);
}

TEST_P(GgufModels, IsTheSameModel) {
  const std::string path = source(config(GetParam())), out = folder_.file("out.gguf");
  convert_model(open_model(path), Container::gguf, out);
  ASSERT_TRUE(fs::is_regular_file(out));
  const LoadedModel before = load_model(path, {}), after = load_model(out, {});
  EXPECT_EQ(logits_of_some_tokens(out), logits_of_some_tokens(path));

  const CheckpointPtr stacked = with_mlx_conventions(before.checkpoint, true).checkpoint;
  ASSERT_EQ(after.checkpoint->tensors.size(), stacked->tensors.size());
  for (const Tensor& tensor : stacked->tensors) {
    EXPECT_EQ(decode_all(after.checkpoint->at(tensor.name)), decode_all(tensor)) << tensor.name;
    if (tensor.shape.size() > 1) {
      EXPECT_EQ(after.checkpoint->at(tensor.name).format, tensor.format);
    }
  }
  EXPECT_EQ(after.model->config().end_tokens, before.model->config().end_tokens);
  EXPECT_EQ(after.model->config().max_positions, before.model->config().max_positions);
  EXPECT_EQ(after.model->config().rope_scaling, before.model->config().rope_scaling);

  const Tokenizer &ours = *before.tokenizer, &theirs = *after.tokenizer;
  for (const char* text :
       {"The city of London, 1666.\n\n  don't", "<|im_start|>user\nA\u030a\u2009z<|im_end|>", ""})
    EXPECT_EQ(theirs.encode(text), ours.encode(text)) << text;
  EXPECT_EQ(theirs.adds_bos, ours.adds_bos);
  EXPECT_EQ(theirs.bos, ours.bos);
  EXPECT_EQ(theirs.eos_text, ours.eos_text);
  EXPECT_EQ(theirs.chat_template, ours.chat_template);
  for (const TokenId id : {0, 500, 8190})
    EXPECT_EQ(theirs.decode({{id}}, false), ours.decode({{id}}, false)) << id;
}

TEST_P(GgufModels, GoesToGgufAndBack) {
  const std::string path = source(config(GetParam())), there = folder_.file("there");
  convert_model(open_model(path), Container::gguf, there);
  EXPECT_TRUE(fs::is_regular_file(there + "/model.gguf"));
  EXPECT_EQ(open_model(there)->manifest->at("container"), "gguf");
  convert_model(open_model(there), Container::assay, folder_.file("back"));
  EXPECT_EQ(logits_of_some_tokens(folder_.file("back")), logits_of_some_tokens(path));
  convert_model(open_model(there), Container::gguf, folder_.file("again.gguf"));
  EXPECT_TRUE(read_bytes(folder_.file("again.gguf")) == read_bytes(there + "/model.gguf"));
}

INSTANTIATE_TEST_SUITE_P(Architectures, GgufModels, testing::Values("llama", "qwen2", "qwen3", "qwen3_moe"),
                         [](const auto& type) { return std::string(type.param); });

TEST_F(GgufModels, IsQuantisedInto) {
  const std::string path = source(config("llama"));
  Recipe recipe;
  recipe.name = "mixed";
  Rule attention, rest;
  attention.roles = {"attention"};
  attention.format = "q4_1";
  rest.roles = {"linear"};
  rest.format = "q8_0";
  recipe.rules = {attention, rest};
  const std::string ours = quantised(path, recipe, Container::assay, "ours"),
                    lone = quantised(path, recipe, Container::gguf, "lone.gguf"),
                    kept = quantised(path, recipe, Container::gguf, "kept");
  EXPECT_EQ(logits_of_some_tokens(lone), logits_of_some_tokens(ours));
  EXPECT_TRUE(read_bytes(lone) == read_bytes(kept + "/model.gguf"));
  const CheckpointPtr model = open_model(kept);
  EXPECT_EQ(model->at("model.layers.0.self_attn.q_proj.weight").format->name(), "q4_1");
  EXPECT_EQ(model->at("model.layers.0.mlp.up_proj.weight").format->name(), "q8_0");
  EXPECT_EQ(model->at("model.norm.weight").format->name(), "f32");
  EXPECT_EQ(model->at("model.embed_tokens.weight").format->name(), "bf16");
  EXPECT_TRUE(model->manifest->at("tensors").at("model.norm.weight").contains("xxh3"));
}

TEST_F(GgufModels, WhatItCannotHoldIsRefusedByName) {
  const std::string path = source(config("qwen3")), out = folder_.file("out.gguf");
  Recipe recipe;
  recipe.name = "mlx";
  Rule rule;
  rule.roles = {"linear"};
  rule.format = "mlx4-g64";
  recipe.rules = {rule};
  EXPECT_ERROR(quantised(path, recipe, Container::gguf, "out.gguf"), "model.layers.0.mlp.down_proj.weight",
               "GGUF has no mlx4-g64");
  const std::string mlx = quantised(path, recipe, Container::mlx, "mlx");
  EXPECT_ERROR(convert_model(open_model(mlx), Container::gguf, out), "model.layers.0.mlp.down_proj.weight",
               "no lossless form in a gguf directory", "quantize instead");
  EXPECT_FALSE(fs::exists(out));

  Json windowed = config("llama");
  windowed["sliding_window"] = 64;
  const std::string unknown = source(config("llama"), windowed);
  EXPECT_ERROR(convert_model(open_checkpoint(unknown), Container::gguf, out), "sliding_window 64 is in use");
  Json partly = config("qwen3_moe");
  partly["mlp_only_layers"] = {1};
  EXPECT_ERROR(convert_model(open_model(source(partly)), Container::gguf, out), "layer 1 has no experts");
  const std::string mute = source(config("qwen3"));
  fs::remove(mute + "/tokenizer.json");
  EXPECT_ERROR(convert_model(open_model(mute), Container::gguf, out), mute, "no tokenizer.json");
  EXPECT_FALSE(fs::exists(out));
}

TEST_F(GgufModels, AFileThatIsThereStays) {
  const std::string path = source(config("qwen3")), out = folder_.file("out.gguf");
  write_bytes(out, "mine");
  EXPECT_ERROR(convert_model(open_model(path), Container::gguf, out), "exists already");
  EXPECT_EQ(read_bytes(out), "mine");
  fs::remove(out);
  fs::create_directory(out);  // an empty folder counts as not existing to a folder, not to a file
  EXPECT_ERROR(convert_model(open_model(path), Container::gguf, out), "exists already");
  EXPECT_TRUE(fs::is_empty(out));
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_.path())) ++entries;
  EXPECT_EQ(entries, 2u) << "the source and the folder, nothing left over";
}

}  // namespace
}  // namespace assay::test
