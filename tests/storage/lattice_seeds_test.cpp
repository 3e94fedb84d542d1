// The seeds of fuzz/lattice.cpp and fuzz/gguf.cpp are what these builders make. ASSAY_WRITE_SEEDS=1 writes
// them anew.
#include <gtest/gtest.h>

#include <map>

#include "tests/storage/gguf_builder.h"
#include "tests/storage/lattice_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

using Seeds = std::map<std::string, std::string>;

void check_seeds(const std::string& target, const Seeds& seeds) {
  const std::filesystem::path folder = project("fuzz/seeds/" + target);
  if (std::getenv("ASSAY_WRITE_SEEDS") != nullptr) {
    std::filesystem::create_directories(folder);
    for (const auto& [name, bytes] : seeds) write_bytes((folder / name).string(), bytes);
  }
  for (const auto& [name, bytes] : seeds)
    EXPECT_EQ(to_hex(read_bytes((folder / name).string())), to_hex(bytes)) << name;
}

/// A directory as fuzz/lattice.cpp unpacks it.
std::string packed(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string bytes;
  for (const auto& [name, content] : files)
    bytes += static_cast<char>(name.size()) + name +
             little_endian(static_cast<std::uint16_t>(content.size())) + content;
  return bytes;
}

TEST(FuzzSeeds, Lattice) {
  const std::string config = R"({"hidden_size":32,"intermediate_size":64,"tie_word_embeddings":true})";
  const std::string rotated =
      R"({"quarot_rotation_seed":1,"text_config":{"quarot_rotation_seed":1},"num_experts":0})";
  const std::string gate = "l_0_mlp_gate_proj_weight";
  const std::string index =
      R"([{"name":"a","file":"a.q4","format":"q4","quantized":true,"shape":[2,33],"numel":66}])";
  const std::string quarot =
      R"({"quarot_seed":1,"tensors":[{"name":"a","file":"a.q4","quantized":true,"shape":[32],"numel":32}],)"
      R"("online":null,"artifact_version":"v0-residual","promotion":{"state":"rejected","reason":"x"}})";
  const std::string symmetric =
      lattice_bytes("KHQ4", 2, 1, {32}, 32, from_hex("003c00c8") + std::string(16, '\x99'));
  const std::string norm = ones_f16({3});
  Seeds seeds = {
      {"index_bare", "i" + index},
      {"index_quarot", "i" + quarot},
      {"index_online", R"(i{"quarot_seed":1,"tensors":[],"artifact_version":"v1-online-r3r4","online":{}})"},
      {"q4", "4" + ones_q4({2, 33})},
      {"q4_v1", "4" + lattice_bytes("KHQ4", 1, 1, {32}, 32, std::string(18, '\x3c'))},
      {"w3", "w" + ones_w3({1, 32})},
      {"q3", "3" + ones_w3({1, 32}, "KHQ3")},
      {"f16", "f" + ones_f16({2, 3})},
      {"q4_wraps", "4" + lattice_bytes("KHQ4", 2, 1, {~std::uint64_t{0}}, ~std::uint64_t{0}, "")},
      {"f16_wraps", "f" + lattice_bytes("KHF1", 1, 1, {std::uint64_t{1} << 63}, std::uint64_t{1} << 63, "")},
      {"q4_product", "4" + lattice_bytes("KHQ4", 2, 2, {1ull << 32, 1ull << 32}, 0, "")},
      {"directory_index",
       "d" + packed({{"config.json", "{}"}, {"quantize_index.json", index}, {"a.q4", ones_q4({2, 33})}})},
      {"directory_quarot",
       "d" + packed({{"config.json", rotated}, {"quantize_index.json", quarot}, {"a.q4", symmetric}})},
      {"directory_stale",
       "d" + packed({{"config.json", "{}"}, {"quantize_index.json", index}, {"a.q4", ones_q4({33, 2})}})},
      {"directory_unnamed", "d" + packed({{"config.json", R"({"model_type":"x"})"}, {"a.q4", symmetric}})},
      {"w3_directory",
       "a" +
           packed({{"config.json", config}, {"a_norm_weight.f16", norm}, {gate + ".w3", ones_w3({64, 32})}})},
      {"w3_missing", "a" + packed({{"config.json", config},
                                   {"a_norm_weight.w3", ones_w3({3})},
                                   {gate + ".q4", ones_q4({64, 32})}})},
      {"w3_stray", "a" + packed({{"config.json", config},
                                 {"a_norm_weight.f16", norm},
                                 {gate + ".w3", ""},
                                 {gate + ".q4", ""}})},
      {"w3_experts", "a" + packed({{"config.json", R"({"text_config":{"num_experts":4}})"},
                                   {"a_norm_weight.f16", norm},
                                   {gate + ".w3", ones_w3({64, 32})}})},
      {"w3_shape", "a" + packed({{"config.json", R"({"hidden_size":64,"intermediate_size":64})"},
                                 {"a_norm_weight.f16", norm},
                                 {gate + ".w3", ones_w3({64, 32})}})},
      {"stray", "a" + packed({{"config.json", config},
                              {"a_norm_weight.f16", norm},
                              {gate + ".q4", ones_q4({64, 32})},
                              {"x.q4", ""}})},
      {"untied", "a" + packed({{"config.json", R"({"tie_word_embeddings":false})"},
                               {"a_norm_weight.f16", norm},
                               {gate + ".q4", ones_q4({64, 32})}})},
  };
  check_seeds("lattice", seeds);
}

/// A model of a few hundred bytes, so that mutations matter.
GgufBuilder small_gguf(const std::string& architecture) {
  GgufBuilder file;
  file.set("general.architecture", string_value(architecture)).set("general.alignment", u32_value(8));
  file.alignment = 8;
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, std::uint32_t>>{{"block_count", 1},
                                                          {"context_length", 8},
                                                          {"embedding_length", 4},
                                                          {"feed_forward_length", 4},
                                                          {"attention.head_count", 1}})
    file.set(architecture + "." + name, u32_value(value));
  file.set(architecture + ".attention.layer_norm_rms_epsilon", f32_value(1e-5f))
      .set("tokenizer.ggml.model", string_value("gpt2"))
      .set("tokenizer.ggml.pre", string_value("qwen2"))
      .set("tokenizer.ggml.tokens", strings_value({"a", "b", "ab", "<x>"}))
      .set("tokenizer.ggml.token_type", numbers_value<std::int32_t>(GgufType::i32, {1, 1, 1, 3}))
      .set("tokenizer.ggml.merges", strings_value({"a b"}))
      .set("tokenizer.ggml.eos_token_id", u32_value(3));
  return file.add({"token_embd.weight", {4, 4}, 0, f32_ramp(16), {}})
      .add({"blk.0.attn_q.weight", {4, 4}, 1, std::string(32, '\0'), {}});
}

TEST(FuzzSeeds, Gguf) {
  GgufBuilder every_type;
  every_type.set("a", gguf_value(GgufType::u8, "a"))
      .set("b", gguf_value(GgufType::i8, "a"))
      .set("c", gguf_value(GgufType::u16, "ab"))
      .set("d", gguf_value(GgufType::i16, "ab"))
      .set("e", gguf_value(GgufType::i32, "abcd"))
      .set("f", gguf_value(GgufType::u64, "abcdefgh"))
      .set("g", gguf_value(GgufType::i64, "abcdefgh"))
      .set("h", gguf_value(GgufType::f64, "abcdefgh"))
      .set("i", bool_value(true))
      .set("j", strings_value({"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"}))
      .add({"t", {32, 1, 1, 1}, 3, std::string(20, '\0'), {}});
  GgufBuilder sentencepiece = small_gguf("llama");
  sentencepiece.remove("tokenizer.ggml.pre").remove("tokenizer.ggml.merges");
  sentencepiece.set("tokenizer.ggml.model", string_value("llama"))
      .set("tokenizer.ggml.tokens", strings_value({"<unk>", "<s>", "</s>", "<0x00>"}))
      .set("tokenizer.ggml.token_type", numbers_value<std::int32_t>(GgufType::i32, {2, 3, 3, 6}))
      .set("tokenizer.ggml.scores", numbers_value<float>(GgufType::f32, {0, 0, 0, -1}))
      .set("tokenizer.ggml.bos_token_id", gguf_value(GgufType::i32, raw(1)))
      .set("tokenizer.ggml.padding_token_id", u32_value(2));
  GgufBuilder rope = small_gguf("llama");
  rope.add({"rope_freqs.weight", {2}, 0, raw(1.0f) + raw(1.0f), {}})
      .add({"output.weight", {4, 4}, 30, std::string(32, '\0'), {}})
      .set("somebody.key", u32_value(1));
  GgufBuilder wraps;
  wraps.add({"t", {(std::uint64_t{1} << 62) + 8}, 0, f32_ramp(8), {}});
  Seeds seeds = {
      {"llama", small_gguf("llama").build()},
      {"qwen3", small_gguf("qwen3").set("tokenizer.chat_template", string_value("x")).build()},
      {"smollm", small_gguf("llama").set("tokenizer.ggml.pre", string_value("smollm")).build()},
      {"sentencepiece", sentencepiece.build()},
      {"rope", rope.build()},
      {"every_type", every_type.build()},
      {"wraps", wraps.build()},
      {"experts", small_gguf("llama").set("llama.expert_count", u32_value(2)).build()},
      {"scaling", small_gguf("llama").set("llama.rope.scaling.type", string_value("yarn")).build()},
      {"split", small_gguf("llama").set("split.count", u32_value(2)).build()},
      {"head", small_gguf("llama").set("llama.attention.key_length", u32_value(3)).build()},
      {"unknown_key", small_gguf("llama").set("llama.unknown", u32_value(2)).build()},
      {"unknown_tensor", small_gguf("llama").add({"blk.0.x.weight", {1}, 0, f32_ramp(1), {}}).build()},
      {"q_bias", small_gguf("llama").add({"blk.0.attn_q.bias", {4}, 0, f32_ramp(4), {}}).build()},
  };
  check_seeds("gguf", seeds);
}

}  // namespace
}  // namespace assay
