// The quantise journey on generated models: every recipe and container, tails, refusals, losslessness.
#include "assay/quantize/quantize_model.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/model/completeness.h"
#include "assay/parallel/threads.h"
#include "assay/rounding/transcode.h"
#include "tests/quantize/generated_model.h"
#include "tests/quantize/moe_config.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::llama_config;
using test::llama_tensors;
using test::TemporaryFolder;
using test::write_model;

struct Fixture : testing::Test {
  TemporaryFolder folder;
  std::string source = folder.file("source");

  void make(std::uint64_t hidden, std::uint64_t intermediate) {
    write_model(source, llama_config(static_cast<int>(hidden), static_cast<int>(intermediate), 96),
                llama_tensors(hidden, intermediate, 96));
  }
  QuantizeResult quantize(const std::string& recipe, const std::string& out,
                          Container container = Container::assay, const std::string& embed = "") {
    QuantizeRequest request;
    request.source = open_as_it_lies(source);
    request.recipe = load_recipe(recipe);
    request.plan.container = container;
    request.plan.embed = embed;
    request.out = folder.file(out);
    request.why_not_measured = "test";
    return quantize_model(request);
  }
};

/// What the format's published rule makes of these weights.
std::vector<float> rounded(const Format& format, const std::vector<float>& weights, std::uint64_t columns) {
  const Layout layout = format.layout(columns);
  const std::uint64_t units = unit_count(layout, weights.size() / columns, columns);
  std::vector<Params> params(layout.has_params ? units : 0);
  std::vector<Code> codes(units * layout.run);
  std::vector<float> out(weights.size());
  format.reference(weights, params, codes);
  format.decode(params, codes, out);
  return out;
}

using Quantize = Fixture;

TEST_F(Quantize, EveryRecipeStoresWhatItsFormatsReferenceMakes) {
  make(128, 256);
  const auto original = open_model(source);
  for (const Recipe& recipe : built_in_recipes()) {
    if (recipe.name.ends_with("-experts")) {
      EXPECT_ERROR(quantize(recipe.name, recipe.name), recipe.name.c_str(), "roles experts",
                   "matches no tensor", "no experts");
      continue;
    }
    const auto result = quantize(recipe.name, recipe.name);
    const auto stored = open_model(folder.file(recipe.name));
    ASSERT_EQ(stored->tensors.size(), original->tensors.size()) << recipe.name;
    for (const TensorPlan& planned : result.plan.tensors) {
      const Tensor& tensor = stored->at(planned.source->name);
      EXPECT_EQ(tensor.format->name(), planned.format->name()) << recipe.name << " " << tensor.name;
      EXPECT_EQ(tensor.shape, planned.source->shape);
      const auto expected =
          rounded(*planned.format, decode_all(*planned.source), as_matrix(planned.source->shape).columns);
      EXPECT_EQ(decode_all(tensor), expected) << recipe.name << " " << tensor.name;
    }
  }
}

TEST_F(Quantize, LatticeDirectoryReadsBackIdentically) {
  make(64, 96);
  for (const char* recipe : {"q4", "w3", "w3-mlp"}) {
    const std::string out = std::string("lattice-") + recipe;
    quantize(recipe, std::string("assay-") + recipe);
    quantize(recipe, out, Container::lattice);
    const auto a = open_model(folder.file(std::string("assay-") + recipe)), b = open_model(folder.file(out));
    EXPECT_EQ(b->container, Container::lattice);
    for (const Tensor& tensor : a->tensors)
      EXPECT_EQ(decode_all(tensor), decode_all(b->at(tensor.name))) << recipe << " " << tensor.name;
  }
}

TEST_F(Quantize, BlocksStraddleRowsInTheKhFamily) {
  make(33, 33);  // [33,33] = 1089 weights: 35 blocks, the last of one weight
  quantize("q4", "q4");
  const auto original = open_model(source), stored = open_model(folder.file("q4"));
  const std::string name = "model.layers.0.mlp.gate_proj.weight";
  EXPECT_EQ(decode_all(stored->at(name)), rounded(*find_format("khq4"), decode_all(original->at(name)), 33));
  EXPECT_EQ(stored->at(name).stored_bytes(), 35u * 20u);
}

TEST_F(Quantize, RowFormatsRefuseWhatDoesNotFitAndSayWhere) {
  make(33, 33);
  EXPECT_ERROR(quantize("q8", "q8"), "model.embed_tokens.weight [96, 33]", "q8_0", "33");
  EXPECT_FALSE(std::filesystem::exists(folder.file("q8")));
}

TEST_F(Quantize, OtherwiseIsTakenAndSaid) {
  make(64, 96);
  test::write_bytes(folder.file("r.json"), R"({"name": "r", "rules": [
      {"roles": ["linear"], "format": "mlx4-g64", "otherwise": "khq4"}]})");
  const auto result = quantize(folder.file("r.json"), "r");
  const auto stored = open_model(folder.file("r"));
  EXPECT_EQ(stored->at("model.layers.0.mlp.down_proj.weight").format->name(), "khq4");  // K = 96
  EXPECT_EQ(stored->at("model.layers.0.mlp.up_proj.weight").format->name(), "mlx4-g64-bf16");
  EXPECT_EQ(stored->at("model.embed_tokens.weight").format->name(), "bf16");
  ASSERT_FALSE(result.plan.notes.empty());
  EXPECT_NE(result.plan.notes[0].find("down_proj"), std::string::npos);
}

TEST_F(Quantize, RulesThatMatchNothingAreErrors) {
  make(64, 96);
  test::write_bytes(folder.file("r.json"), R"({"name": "r", "rules": [
      {"roles": ["linear"], "format": "khq4"}, {"names": ["model.layers.9.*"], "format": "khq4"}]})");
  EXPECT_ERROR(quantize(folder.file("r.json"), "r"), "model.layers.9.*", "matches no tensor");
  EXPECT_FALSE(std::filesystem::exists(folder.file("r")));
}

TEST_F(Quantize, EmbedOverridesTheEnds) {
  make(64, 96);
  quantize("w3", "w3", Container::assay, "q8_0");
  const auto stored = open_model(folder.file("w3"));
  EXPECT_EQ(stored->at("model.embed_tokens.weight").format->name(), "q8_0");
  EXPECT_EQ(stored->at("model.layers.0.mlp.up_proj.weight").format->name(), "khw3");
}

TEST_F(Quantize, FloorsAreNamed) {
  make(64, 128);
  const auto result = quantize("mlx2", "mlx2");
  EXPECT_THAT(
      result.plan.notes,
      testing::Contains(testing::HasSubstr("embedding goes to mlx2-g64-bf16, below the floor of 4 bits")));
}

TEST_F(Quantize, RoutersBelowTheirFloorAreRefused) {
  auto tensors = llama_tensors(64, 96, 96);
  tensors.push_back({"model.layers.0.mlp.gate.weight", {4, 64}});
  write_model(folder.file("model"), llama_config(64, 96, 96), tensors);
  test::write_bytes(folder.file("r.json"), R"({"name": "r", "rules": [
      {"roles": ["linear", "router"], "format": "khw3"}]})");
  EXPECT_ERROR(make_plan(open_as_it_lies(folder.file("model")), load_recipe(folder.file("r.json")), {}),
               "model.layers.0.mlp.gate.weight", "router would go to khw3", "floor of 8 bits");
}

TEST_F(Quantize, UnknownTensorsAreRefused) {
  auto tensors = llama_tensors(64, 96, 96);
  tensors.push_back({"model.layers.0.mlp.surprise.weight", {64, 64}});
  write_model(source, llama_config(64, 96, 96), tensors);
  EXPECT_ERROR(quantize("q4", "q4"), "surprise");
}

TEST_F(Quantize, RecipesKnowExpertsAndRouters) {
  source = folder.file("experts");
  const Json config = test::moe_config("qwen3_moe");
  std::vector<test::GeneratedTensor> tensors;
  const std::vector<ExpectedTensor> expected = expected_tensors(config).value();
  for (const ExpectedTensor& tensor : expected) tensors.push_back({tensor.name, tensor.shape});
  write_model(source, config, tensors);
  EXPECT_ERROR(quantize("w3-mlp", "w3"), "recipe w3-mlp is for dense models", "w3-experts");
  const auto low = quantize("w3-experts", "low");
  for (const TensorPlan& planned : low.plan.tensors) {
    if (planned.role == Role::expert_gate) {
      EXPECT_EQ(planned.format->name(), "khw3");
    }
  }
  const auto result = quantize("q4", "q4");
  for (const TensorPlan& planned : result.plan.tensors) {
    if (planned.role == Role::router) {
      EXPECT_EQ(planned.format->name(), "bf16");
    } else if (planned.role == Role::expert_gate) {
      EXPECT_EQ(planned.format->name(), "khq4");
    }
  }
}

TEST_F(Quantize, ExistingOutputIsNotTouched) {
  make(64, 96);
  std::filesystem::create_directory(folder.file("out"));
  test::write_bytes(folder.file("out/x"), "mine");
  EXPECT_ERROR(quantize("q4", "out"), "exists already");
  EXPECT_EQ(test::read_bytes(folder.file("out/x")), "mine");
}

TEST_F(Quantize, ResultDoesNotDependOnThreads) {
  make(128, 256);
  set_thread_count(1);
  quantize("q4", "one");
  set_thread_count(3);
  quantize("q4", "three");
  set_thread_count(0);
  EXPECT_EQ(test::read_bytes(folder.file("one/model.safetensors")),
            test::read_bytes(folder.file("three/model.safetensors")));
  EXPECT_EQ(test::read_bytes(folder.file("one/assay.json")),
            test::read_bytes(folder.file("three/assay.json")));
}

TEST_F(Quantize, ManifestHoldsHashesRecipeAndErrors) {
  make(64, 96);
  quantize("q4", "q4");
  const Json manifest = read_json_file(folder.file("q4/assay.json"));
  const std::string weights = test::read_bytes(folder.file("source/model.safetensors"));
  EXPECT_EQ(manifest["source"]["files"][0]["sha256"], sha256_hex(std::as_bytes(std::span(weights))));
  EXPECT_EQ(manifest["recipe"]["name"], "q4");
  const Json& tensor = manifest["tensors"]["model.layers.0.mlp.up_proj.weight"];
  EXPECT_EQ(tensor["format"], "khq4");
  EXPECT_EQ(tensor["bits_per_weight"], 5.0);
  EXPECT_NEAR(tensor["relative_rms_error"].get<double>(), 0.0783,
              0.01);  // Gaussian, groups of 32: NUMERICS 1.4
  EXPECT_EQ(manifest["tensors"]["model.norm.weight"]["relative_rms_error"], 0.0);
  EXPECT_EQ(manifest["not_measured"], "test");
}

TEST_F(Quantize, PureMlxRecipeIsAlsoAnMlxCheckpoint) {
  make(64, 128);
  quantize("mlx4", "mlx4");
  const Json config = read_json_file(folder.file("mlx4/config.json"));
  EXPECT_EQ(config["quantization"]["bits"], 4);
  EXPECT_EQ(config["quantization"]["group_size"], 64);
  std::filesystem::remove(folder.file("mlx4/assay.json"));
  const auto plain = open_model(folder.file("mlx4"));
  EXPECT_EQ(plain->container, Container::mlx);
  EXPECT_EQ(plain->at("model.layers.0.mlp.up_proj.weight").format->name(), "mlx4-g64-bf16");
}

TEST_F(Quantize, PackedSourcesAreTranscodedNotRoundedTwice) {
  make(64, 96);
  test::write_bytes(folder.file("r.json"),
                    R"({"name": "r", "rules": [{"roles": ["matrices"], "format": "q4_1"}]})");
  quantize(folder.file("r.json"), "q41");
  source = folder.file("q41");
  const auto result = quantize("q4", "q4");
  const auto before = open_model(source), after = open_model(folder.file("q4"));
  for (std::size_t i = 0; i < result.reports.size(); ++i) {
    const std::string& name = result.plan.tensors[i].source->name;
    EXPECT_NE(result.plan.tensors[i].method, Method::rtn);
    EXPECT_EQ(decode_all(before->at(name)), decode_all(after->at(name))) << name;
  }
}

// Such formats have no packer: their bytes are copied, not made again.
TEST_F(Quantize, FormatsThatAreOnlyReadAreCopied) {
  auto tensors = llama_tensors(128, 256, 96);
  for (const auto& [index, format] : {std::pair{2, "mxfp4"}, {3, "mxfp8"}, {4, "nvfp4"}, {5, "khq4-v1"}})
    tensors[static_cast<std::size_t>(index)].format = format;
  write_model(source, llama_config(128, 256, 96), tensors, 1, Container::assay);
  test::write_bytes(folder.file("mlp.json"),
                    R"({"name": "mlp", "rules": [{"roles": ["mlp"], "format": "khq4"}]})");
  quantize(folder.file("mlp.json"), "out");
  const auto before = open_model(source), after = open_model(folder.file("out"));
  for (const std::size_t index : {2u, 3u, 4u, 5u}) {
    const Tensor &from = before->at(tensors[index].name), &to = after->at(tensors[index].name);
    EXPECT_EQ(to.format->name(), tensors[index].format);
    ASSERT_EQ(to.planes.size(), from.planes.size());
    for (std::size_t p = 0; p < to.planes.size(); ++p)
      EXPECT_TRUE(std::ranges::equal(to.planes[p], from.planes[p]))
          << tensors[index].format << " plane " << p;
  }
}

TEST_F(Quantize, ConvertKeepsEveryWeightOrRefuses) {
  make(64, 96);
  quantize("q4", "q4");
  convert_model(open_model(folder.file("q4")), Container::lattice, folder.file("lattice"));
  convert_model(open_model(folder.file("lattice")), Container::mlx, folder.file("mlx"));
  convert_model(open_model(folder.file("mlx")), Container::assay, folder.file("back"));
  const auto a = open_model(folder.file("q4")), b = open_model(folder.file("back"));
  EXPECT_EQ(b->at("model.embed_tokens.weight").format->name(), "mlx4-g32-f16");
  for (const Tensor& tensor : a->tensors)
    EXPECT_EQ(decode_all(tensor), decode_all(b->at(tensor.name))) << tensor.name;
  quantize("int6-row", "int6");
  EXPECT_ERROR(convert_model(open_model(folder.file("int6")), Container::lattice, folder.file("no")),
               "int6-row", "lossless");
  EXPECT_FALSE(std::filesystem::exists(folder.file("no")));
}

/// The pairs of docs/formats.md, "Lossless changes", on the published seed-2 block and on random ones.
struct Pair {
  const char *from, *to;
};
class Transcode : public testing::TestWithParam<Pair> {};

TEST_P(Transcode, IsExactOnRandomBlocks) {
  const FormatPtr from = find_format(GetParam().from), to = find_format(GetParam().to);
  ASSERT_TRUE(from && to);
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 1);
  constexpr std::size_t kUnits = 50;
  std::vector<float> weights(kUnits * 32), before(weights.size()), after(weights.size());
  for (float& weight : weights) weight = normal(random);
  std::vector<Params> params(kUnits), mapped(kUnits);
  std::vector<Code> codes(weights.size()), mapped_codes(weights.size());
  from->reference(weights, params, codes);
  std::string why;
  ASSERT_TRUE(transcode_units(*from, params, codes, *to, mapped, mapped_codes, &why)) << why;
  from->decode(params, codes, before);
  to->decode(mapped, mapped_codes, after);
  EXPECT_EQ(before, after);
}

INSTANTIATE_TEST_SUITE_P(Lossless, Transcode,
                         testing::Values(Pair{"khq4", "q4_1"}, Pair{"q4_1", "khq4"},
                                         Pair{"khq4", "mlx4-g32-f16"}, Pair{"khw3", "mlx3-g32-f16"},
                                         Pair{"khw3", "khq3"}, Pair{"khq3", "khw3"},
                                         Pair{"khq3", "mlx3-g32-f16"}, Pair{"q4_0", "q4_1"},
                                         Pair{"q4_0", "mlx4-g32-f16"}, Pair{"q8_0", "mlx8-g32-f16"},
                                         Pair{"khq4-sym", "khq4"}, Pair{"khq4", "mlx4-g32-f32"}),
                         [](const auto& parameter) {
                           std::string name = std::string(parameter.param.from) + "_to_" + parameter.param.to;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

TEST(TranscodeRefusal, SaysWhichBlock) {
  const FormatPtr from = find_format("khq4"), to = find_format("mlx4-g32-bf16");  // f16 has three more bits
  std::vector<float> weights(64);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 7) * 0.0137f;
  std::vector<Params> params(2), mapped(2);
  std::vector<Code> codes(64), mapped_codes(64);
  from->reference(weights, params, codes);
  std::string why;
  EXPECT_FALSE(transcode_units(*from, params, codes, *to, mapped, mapped_codes, &why));
  EXPECT_NE(why.find("block 0"), std::string::npos) << why;
}

// What units of a superblock share they cannot be given one by one; taken out they are units like all others.
TEST(TranscodeSuperblocks, ComeOutGoNotInAndStayThemselves) {
  const FormatPtr from = find_format("q4_k");
  std::vector<float> weights(512);
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<float>(i * i % 97) * 0.0137f - 0.4f;
  std::vector<Params> params(16), mapped(16);
  std::vector<Code> codes(512), mapped_codes(512);
  from->reference(weights, params, codes);
  std::string why;
  ASSERT_TRUE(transcode_units(*from, params, codes, *from, mapped, mapped_codes, &why)) << why;
  EXPECT_EQ(mapped_codes, codes);
  for (std::size_t unit = 0; unit < params.size(); ++unit) EXPECT_EQ(mapped[unit].sub, params[unit].sub);

  const FormatPtr to = find_format("mlx4-g32-f32");
  ASSERT_TRUE(transcode_units(*from, params, codes, *to, mapped, mapped_codes, &why)) << why;
  std::vector<float> before(512), after(512);
  from->decode(params, codes, before);
  to->decode(mapped, mapped_codes, after);
  EXPECT_EQ(before, after);

  EXPECT_FALSE(transcode_units(*to, mapped, mapped_codes, *from, params, codes, &why));
  EXPECT_NE(why.find("share"), std::string::npos) << why;
}

TEST(TranscodeRefusal, ConstantBlocksSurviveAScaleOfZero) {
  const FormatPtr from = find_format("q4_1"), to = find_format("khq4");
  const std::vector<Params> params = {{0.0f, 1.5f}};  // legal in Q4_1, not in KHQ4
  const std::vector<Code> codes(32, 9);
  std::vector<Params> mapped(1);
  std::vector<Code> mapped_codes(32);
  std::string why;
  ASSERT_TRUE(transcode_units(*from, params, codes, *to, mapped, mapped_codes, &why)) << why;
  EXPECT_EQ(mapped[0].scale, 1.0f);
  EXPECT_EQ(mapped[0].bias, 1.5f);
  EXPECT_EQ(mapped_codes, std::vector<Code>(32, 0));
}

}  // namespace
}  // namespace assay
