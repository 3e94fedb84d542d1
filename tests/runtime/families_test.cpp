// One small random checkpoint of each family against transformers' logits and greedy continuations, which lie
// beside it (tests/reference/family_checkpoints.py wrote all), and some packed as other toolkits pack them,
// against numpy's (packed_checkpoints.py). No model of this size is in anybody's way.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/model/completeness.h"
#include "assay/model/families/families.h"
#include "assay/model/roles.h"
#include "assay/runtime/session.h"
#include "tests/storage/gguf_builder.h"
#include "tests/support.h"

namespace assay::test {
namespace {

constexpr double kTolerance = 5e-5;  // of logits of a deviation near 1; transformers computes in float32 too

constexpr const char* kFolders[] = {"llama",      "qwen2",      "qwen2_untied", "qwen3",
                                    "qwen3_moe",  "qwen3_next", "qwen3_5",      "qwen3_5_moe",
                                    "qwen3_gptq", "qwen3_ct",   "qwen3_ct_zp",  "qwen3_fp8"};

struct Case {
  std::vector<TokenId> prompt;
  std::vector<float> logits;    // of every position
  std::vector<TokenId> greedy;  // what follows; no choice is near a tie
};

class Families : public testing::TestWithParam<const char*> {
 protected:
  std::string path_ = project("tests/data/families/") + GetParam();

  std::vector<Case> cases() const {
    std::vector<Case> list;
    const Json reference = read_json_file(path_ + "/reference.json");
    for (const Json& entry : reference.at("cases")) {
      Case made{
          entry.at("prompt").get<std::vector<TokenId>>(), {}, entry.at("greedy").get<std::vector<TokenId>>()};
      for (const Json& row : entry.at("logits"))
        for (const Json& value : row) made.logits.push_back(value.get<float>());
      list.push_back(std::move(made));
    }
    return list;
  }
};

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(a[i] - b[i])));
  return largest;
}

/// Logits of all positions, `step` tokens at a time.
std::vector<float> logits_in_steps(const Model& model, const std::vector<TokenId>& prompt, std::size_t step) {
  SequenceMemory memory(model.config());
  std::vector<float> all, hidden, logits;
  for (std::size_t at = 0; at < prompt.size(); at += step) {
    const Chunk chunk{&memory, std::span(prompt).subspan(at, std::min(step, prompt.size() - at))};
    forward(model, std::span(&chunk, 1), hidden);
    assay::logits(model, hidden, logits);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

TEST_P(Families, LogitsAreThoseOfTheReference) {
  const ModelPtr model = Model::load(open_model(path_));
  ASSERT_EQ(cases().size(), 3u);
  for (const Case& reference : cases()) {
    ASSERT_EQ(reference.logits.size(),
              reference.prompt.size() * static_cast<std::size_t>(model->config().vocabulary));
    EXPECT_LT(largest_difference(compute_logits(*model, reference.prompt, 0), reference.logits), kTolerance);
    EXPECT_LT(largest_difference(logits_in_steps(*model, reference.prompt, 1), reference.logits), kTolerance);
    EXPECT_LT(largest_difference(logits_in_steps(*model, reference.prompt, 5), reference.logits), kTolerance);
  }
}

TEST_P(Families, SeveralSequencesAtOnce) {
  const ModelPtr model = Model::load(open_model(path_));
  const std::vector<Case> references = cases();
  std::vector<SequenceMemory> memories;
  memories.reserve(references.size());
  std::vector<Chunk> chunks;
  std::vector<float> expected, hidden, logits;
  for (const Case& reference : references) {
    memories.emplace_back(model->config());
    chunks.push_back({&memories.back(), reference.prompt});
    expected.insert(expected.end(), reference.logits.begin(), reference.logits.end());
  }
  forward(*model, chunks, hidden);
  assay::logits(*model, hidden, logits);
  EXPECT_LT(largest_difference(logits, expected), kTolerance);
}

TEST_P(Families, GreedyContinuationsAreThoseOfTheReference) {
  const ModelPtr model = Model::load(open_model(path_));
  for (const Case& reference : cases()) {
    GenerateOptions options;
    options.max_tokens = static_cast<int>(reference.greedy.size());
    options.stop_at_end_token = false;
    std::vector<TokenId> made;
    for (const GeneratedToken& token : generate(*model, reference.prompt, options)) made.push_back(token.id);
    EXPECT_EQ(made, reference.greedy);
    EXPECT_FALSE(made.empty());
  }
}

TEST_P(Families, EveryTensorIsExpectedAndEveryExpectedTensorIsThere) {
  const CheckpointPtr checkpoint = open_model(path_);
  const Completeness state = check_completeness(*checkpoint);
  EXPECT_TRUE(state.known);
  EXPECT_TRUE(state.whole()) << state.summary();
  EXPECT_EQ(why_not_runnable(*checkpoint), std::nullopt);
  // Without any one of them it is not.
  for (std::size_t t = 0; t < checkpoint->tensors.size(); ++t) {
    Checkpoint less = *checkpoint;
    const std::string name = less.tensors[t].name;
    less.tensors.erase(less.tensors.begin() + static_cast<std::ptrdiff_t>(t));
    EXPECT_FALSE(check_completeness(less).whole()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Families, testing::ValuesIn(kFolders),
                         [](const auto& family) { return std::string(family.param); });

TEST(PackedFolders, StayPacked) {
  const std::pair<const char*, const char*> formats[] = {{"qwen3_gptq", "gptq4-g32-f16"},
                                                         {"qwen3_ct", "ct4-g32-bf16"},
                                                         {"qwen3_ct_zp", "ct4-zp-g32-bf16"},
                                                         {"qwen3_fp8", "fp8-b128-f32"}};
  for (const auto& [folder, format] : formats) {
    const CheckpointPtr model = open_model(project("tests/data/families/") + folder);
    std::size_t packed = 0;
    for (const Tensor& tensor : model->tensors)
      if (tensor.name.ends_with("_proj.weight")) {
        EXPECT_EQ(tensor.format->name(), format) << folder << " " << tensor.name;
        ++packed;
      }
    EXPECT_EQ(packed, 14u) << folder;
  }
  const CheckpointPtr gptq = open_model(project("tests/data/families/qwen3_gptq"));
  EXPECT_TRUE(has_permuted_columns(gptq->at("model.layers.1.mlp.down_proj.weight")));
  EXPECT_FALSE(has_permuted_columns(gptq->at("model.layers.1.mlp.up_proj.weight")));
}

/// The checkpoint as llama.cpp's converter would write it, in f32: `architecture` has no rows moved.
std::string as_gguf(const Checkpoint& source, const std::string& architecture) {
  const Json& config = source.config;
  GgufBuilder file = tiny_gguf();
  std::erase_if(file.keys, [](const auto& key) { return key.first.starts_with("llama."); });
  file.tensors.clear();
  const auto size = [&](const char* key) { return u32_value(config.at(key).get<std::uint32_t>()); };
  const std::string prefix = architecture + ".";
  file.set("general.architecture", string_value(architecture))
      .set(prefix + "block_count", size("num_hidden_layers"))
      .set(prefix + "context_length", size("max_position_embeddings"))
      .set(prefix + "embedding_length", size("hidden_size"))
      .set(prefix + "feed_forward_length", size("intermediate_size"))
      .set(prefix + "attention.head_count", size("num_attention_heads"))
      .set(prefix + "attention.head_count_kv", size("num_key_value_heads"))
      .set(prefix + "attention.key_length", size("head_dim"))
      .set(prefix + "attention.layer_norm_rms_epsilon", f32_value(config.at("rms_norm_eps").get<float>()))
      .set(prefix + "rope.freq_base", f32_value(config.at("rope_parameters").at("rope_theta").get<float>()))
      .set("tokenizer.ggml.pre", string_value("qwen2"));
  std::vector<std::string> tokens = {"<|end|>", "<|user|>", "a", "b", "ab"};
  while (tokens.size() < config.at("vocab_size")) tokens.push_back("a" + std::to_string(tokens.size()));
  std::vector<std::int32_t> types(tokens.size(), 1);
  types[0] = types[1] = 3;
  file.set("tokenizer.ggml.tokens", strings_value(tokens))
      .set("tokenizer.ggml.token_type", numbers_value(GgufType::i32, types))
      .set("tokenizer.ggml.merges", strings_value({"a b"}));
  const std::pair<std::string, std::string> renamed[] = {
      {"model.layers.", "blk."},           {"model.embed_tokens", "token_embd"},
      {"model.norm", "output_norm"},       {"lm_head", "output"},
      {"self_attn.o_proj", "attn_output"}, {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},      {"self_attn.v_proj", "attn_v"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},       {"post_attention_layernorm", "ffn_norm"},
      {"input_layernorm", "attn_norm"}};
  for (const Tensor& tensor : source.tensors) {
    std::string name = tensor.name;
    for (const auto& [from, to] : renamed)
      if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    BuiltTensor built{name, {tensor.shape.rbegin(), tensor.shape.rend()}, 0, {}, {}};
    for (const float value : decode_all(tensor)) built.data += raw(value);
    file.add(std::move(built));
  }
  return file.build();
}

TEST(FamiliesInGguf, Qwen2IsTheSameModelToTheBit) {
  const CheckpointPtr source = open_model(project("tests/data/families/qwen2_untied"));
  const TemporaryFolder folder;
  const std::string path = folder.file("qwen2.gguf");
  write_bytes(path, as_gguf(*source, "qwen2"));
  const CheckpointPtr gguf = open_model(path);
  EXPECT_EQ(gguf->container, Container::gguf);
  const std::vector<TokenId> prompt = {50, 1, 2, 2, 9, 33, 47, 12, 0, 26, 40, 5, 31};
  const LoadOptions decoded{.linear = {Residency::decoded}};  // the file holds f32, its source bf16
  EXPECT_EQ(compute_logits(*Model::load(gguf, decoded), prompt, 0),
            compute_logits(*Model::load(source, decoded), prompt, 0));
  Checkpoint less = *source;
  std::erase_if(less.tensors, [](const Tensor& tensor) { return tensor.name.ends_with("v_proj.bias"); });
  write_bytes(path, as_gguf(less, "qwen2"));
  EXPECT_ERROR(open_model(path), "v_proj.bias", "missing");
}

TEST(FamilyTable, EveryRowHasACheckpointHere) {
  for (const Family* family : all_families()) {
    const auto is_of_family = [&](const char* folder) {
      const std::string config = project("tests/data/families/") + folder + "/config.json";
      return family_of(read_json_file(config), config) == family;
    };
    EXPECT_TRUE(std::ranges::any_of(kFolders, is_of_family)) << family->model_type;
  }
}

}  // namespace
}  // namespace assay::test
