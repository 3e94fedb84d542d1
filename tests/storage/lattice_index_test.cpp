// quantize_index.json in its three forms, and how names become file names.
#include "assay/storage/lattice_index.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "tests/support.h"

namespace assay {
namespace {

LatticeIndex parse_index(const std::string& text) {
  return parse_lattice_index(text, "dir/quantize_index.json");
}

const std::string kEntry =
    R"({"name":"a.weight","file":"a_weight.q4","quantized":true,"shape":[2,33],"numel":66})";

TEST(LatticeIndex, NamesBecomeFileNames) {
  EXPECT_EQ(lattice_stem("model.language_model.layers.0.mlp.gate_proj.weight"),
            "model_language_model_layers_0_mlp_gate_proj_weight");
  EXPECT_EQ(lattice_stem("lm_head.weight"), "lm_head_weight");
  EXPECT_EQ(lattice_stem("a-b/c d:e"), "a-b_c_d_e");
  EXPECT_EQ(lattice_name_misfit("model.norm.weight"), std::nullopt);
  EXPECT_NE(lattice_name_misfit(""), std::nullopt);
  EXPECT_NE(lattice_name_misfit("caf\xc3\xa9"), std::nullopt);
  EXPECT_NE(lattice_name_misfit("merged.qkvz.0_1_2"), std::nullopt);
  EXPECT_TRUE(is_lattice_leftover("merged_qkvz_3_1024_6144.q4"));
  EXPECT_TRUE(is_lattice_leftover("a_weight.q4.tmp"));
  EXPECT_FALSE(is_lattice_leftover("merged_qkvz_3_1024_6144.f16"));
}

TEST(LatticeIndex, ReadsTheBareArray) {
  const LatticeIndex index = parse_index("[" + kEntry + "]");
  ASSERT_EQ(index.tensors.size(), 1u);
  EXPECT_EQ(index.tensors[0].name, "a.weight");
  EXPECT_EQ(index.tensors[0].file, "a_weight.q4");
  EXPECT_EQ(index.tensors[0].format, "");
  EXPECT_TRUE(index.tensors[0].quantized);
  EXPECT_EQ(index.tensors[0].shape, (Shape{2, 33}));
  EXPECT_TRUE(index.warnings.empty());
  EXPECT_TRUE(parse_index("[]").tensors.empty());
}

TEST(LatticeIndex, ReadsTheFormOfTheW3Converter) {
  const LatticeIndex index =
      parse_index(R"([{"name":"a","file":"a.w3","format":"w3","quantized":true,"shape":[1,32],"numel":32}])");
  EXPECT_EQ(index.tensors.at(0).format, "w3");
}

TEST(LatticeIndex, ReadsTheObjectOfQuaRot) {
  const LatticeIndex index = parse_index(R"({"quarot_seed":12648430,"tensors":[)" + kEntry + "]}");
  EXPECT_EQ(index.tensors.size(), 1u);
  ASSERT_EQ(index.warnings.size(), 1u);
  EXPECT_NE(index.warnings[0].find("seed 12648430"), std::string::npos);

  const LatticeIndex rejected = parse_index(
      R"({"quarot_seed":1,"artifact_version":"v0-residual","online":null,"promotion":{"state":"rejected",
          "reason":"too much loss","ppl_gate":null},"tensors":[]})");
  ASSERT_EQ(rejected.warnings.size(), 2u);
  EXPECT_NE(rejected.warnings[1].find("too much loss"), std::string::npos);
  EXPECT_EQ(parse_index(R"({"quarot_seed":1,"online":false,"promotion":{"state":"promoted"},"tensors":[]})")
                .warnings.size(),
            1u);
}

TEST(LatticeIndex, TheObjectFormIsStrict) {
  const auto object = [](const std::string& more) {
    return R"({"quarot_seed":1,"tensors":[],)" + more + "}";
  };
  EXPECT_ERROR(parse_index(R"({"tensors":[]})"), "dir/quantize_index.json", "quarot_seed", "missing");
  EXPECT_ERROR(parse_index(R"({"quarot_seed":1})"), "\"tensors\" is missing");
  EXPECT_ERROR(parse_index(R"({"quarot_seed":-1,"tensors":[]})"), "quarot_seed");
  EXPECT_ERROR(parse_index(object(R"("surprise":1)")), "unknown key \"surprise\"");
  EXPECT_ERROR(parse_index(object(R"("artifact_version":"v1-online-r3r4")")), "v1-online-r3r4",
               "v0-residual expected");
  EXPECT_ERROR(parse_index(object(R"("online":{"r3":true})")), "rotations at run time");
  EXPECT_ERROR(parse_index(object(R"("online":true)")), "rotations at run time");
  EXPECT_ERROR(parse_index(object(R"("promotion":{"state":"maybe"})")), "promotion state is maybe");
  EXPECT_ERROR(
      parse_index(R"({"quarot_seed":1,"tensors":[{"name":"a","file":"a.q4","format":"q4","quantized":true,
                         "shape":[1],"numel":1}]})"),
      "tensor a: unknown key \"format\"");
  EXPECT_NO_THROW(parse_index("[" + kEntry.substr(0, kEntry.size() - 1) + R"(,"note":1}])"));
}

TEST(LatticeIndex, RefusesBadEntries) {
  const auto without = [](const char* key) {
    Json entry = Json::parse(kEntry);
    entry.erase(key);
    return Json::array({entry}).dump();
  };
  const auto with = [](const char* key, const char* value) {
    Json entry = Json::parse(kEntry);
    entry[key] = Json::parse(value);
    return Json::array({entry}).dump();
  };
  for (const char* key : {"name", "file", "quantized", "shape", "numel"})
    EXPECT_ERROR(parse_index(without(key)), "dir/quantize_index.json: ", key, "missing");
  EXPECT_ERROR(parse_index(with("numel", "65")),
               "tensor a.weight: numel is 65, shape [2, 33] says otherwise");
  EXPECT_ERROR(parse_index(with("numel", "66.0")), "numel");
  EXPECT_ERROR(parse_index(with("shape", "[4294967296,4294967296]")), "numel is 66", "says otherwise");
  for (const char* shape : {"[-2,33]", "[2.5]", "[\"2\"]", "[null]"})
    EXPECT_ERROR(parse_index(with("shape", shape)), "tensor a.weight: shape holds", "a count expected");
  EXPECT_ERROR(parse_index(with("quantized", "1")), "quantized");
  EXPECT_ERROR(parse_index(with("name", "\"caf\\u00e9\"")), "beyond ASCII");
  EXPECT_ERROR(parse_index("[" + kEntry + "," + kEntry + "]"), "tensor a.weight is listed twice");
  EXPECT_ERROR(parse_index("[1]"), "an entry is 1, an object expected");
  EXPECT_ERROR(parse_index("1"), "the list of tensors is no array");
  EXPECT_ERROR(parse_index(R"({"quarot_seed":1,"tensors":{}})"), "the list of tensors is no array");
  EXPECT_ERROR(parse_index("["), "not valid JSON");
  EXPECT_ERROR(parse_index(R"([{"name":"a","name":"b"}])"), "duplicate key");
  EXPECT_ERROR(parse_index(std::string((16u << 20) + 1, ' ')), "at most 16777216 expected");
}

TEST(LatticeIndex, WritesWhatItReads) {
  const std::string text =
      lattice_index_text({{"b.norm", "b_norm.f16", "", false, {4}}, {"a", "a.q4", "", true, {2, 33}}});
  EXPECT_EQ(OrderedJson::parse(text).dump(),
            R"([{"name":"a","file":"a.q4","quantized":true,"shape":[2,33],"numel":66},)"
            R"({"name":"b.norm","file":"b_norm.f16","quantized":false,"shape":[4],"numel":4}])");
  EXPECT_EQ(parse_index(text).tensors.size(), 2u);
  EXPECT_EQ(OrderedJson::parse(lattice_index_text({{"a", "a.w3", "w3", true, {32}}})).dump(),
            R"([{"name":"a","file":"a.w3","format":"w3","quantized":true,"shape":[32],"numel":32}])");
}

}  // namespace
}  // namespace assay
