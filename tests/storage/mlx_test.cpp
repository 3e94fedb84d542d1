// MLX directories: widths from shapes, the config as a cross-check, refusals; and the two checkpoints of
// mlx-lm itself.
#include "assay/storage/mlx.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/storage/checkpoint.h"
#include "tests/storage/safetensors_builder.h"

namespace assay {
namespace {

using test::build_safetensors;
using test::BuiltArray;

/// The three arrays of one module as MLX would lay them out.
std::vector<BuiltArray> module_arrays(const std::string& path, std::vector<std::uint64_t> leading,
                                      std::uint64_t columns, std::uint64_t bits, std::uint64_t group,
                                      DType parameters = DType::BF16) {
  auto packed = leading, grouped = leading;
  packed.push_back(columns * bits / 32);
  grouped.push_back(columns / group);
  return {{path + ".weight", DType::U32, packed, ""},
          {path + ".scales", parameters, grouped, ""},
          {path + ".biases", parameters, grouped, ""}};
}

std::vector<BuiltArray> fp_arrays(const std::string& path, std::uint64_t columns, std::uint64_t bits,
                                  std::uint64_t group) {
  return {{path + ".weight", DType::U32, {2, columns * bits / 32}, ""},
          {path + ".scales", DType::U8, {2, columns / group}, ""}};
}

class Mlx : public ::testing::Test {
 protected:
  void arrays(const std::vector<BuiltArray>& arrays) {
    test::write_bytes(folder_.file("model.safetensors"), build_safetensors(arrays, 1));
  }
  void config(const std::string& text) { test::write_bytes(folder_.file("config.json"), text); }
  /// "quantization" with this content.
  void quantization(const std::string& text) { config("{\"quantization\":" + text + "}"); }
  /// Row lengths known for these tensors.
  void expect_shapes(std::vector<ExpectedTensor> expected) {
    options_.architecture = [expected](const Json&) { return expected; };
  }
  CheckpointPtr open() { return open_checkpoint(folder_.path().string(), options_); }
  std::string format(const std::string& tensor = "p.weight") { return open()->at(tensor).format->name(); }

  test::TemporaryFolder folder_;
  OpenOptions options_;
};

TEST_F(Mlx, WidthFromShapesAloneWhenRowsAreKnown) {
  config("{}");
  for (const std::uint64_t bits : {1, 2, 3, 4, 5, 6, 8})
    for (const std::uint64_t group : {32, 64, 128}) {
      arrays(module_arrays("p", {3}, 256, bits, group, DType::F16));
      expect_shapes({{"p.weight", {3, 256}}});
      const CheckpointPtr opened = open();
      const Tensor& tensor = opened->at("p.weight");
      EXPECT_EQ(opened->container, Container::mlx);
      EXPECT_EQ(tensor.format->name(), fmt::format("mlx{}-g{}-f16", bits, group));
      EXPECT_EQ(tensor.shape, (Shape{3, 256}));
      EXPECT_EQ(tensor.dtype, DType::U32);
      EXPECT_EQ(tensor.planes.size(), 3u);
      EXPECT_EQ(decode_all(tensor), std::vector<float>(768, 0.0f));
    }
}

TEST_F(Mlx, WidthFromProductAndConfig) {
  // 4 bits of 64, 8 bits of 32 and 2 bits of 128 have the same shapes for one K each: the config decides.
  arrays(module_arrays("p", {3}, 256, 4, 64));
  quantization(R"({"group_size":64,"bits":4})");
  EXPECT_EQ(format(), "mlx4-g64-bf16");
  EXPECT_EQ(open()->at("p.weight").shape, (Shape{3, 256}));
  quantization(R"({"group_size":32,"bits":8,"mode":"affine"})");
  EXPECT_EQ(format(), "mlx8-g32-bf16");
  EXPECT_EQ(open()->at("p.weight").shape, (Shape{3, 128}));
  config("{}");
  EXPECT_ERROR(open(), "model.safetensors: tensor p.weight: shapes say bits * group = 256", "no width");
}

TEST_F(Mlx, RefusesDisagreementOfConfigAndShapes) {
  arrays(module_arrays("p", {3}, 256, 8, 64));
  quantization(R"({"group_size":64,"bits":4})");
  EXPECT_ERROR(open(), "tensor p.weight: config says 4 bits group 64 (bits * group = 256), shapes say",
               "bits * group = 512");
  expect_shapes({{"p.weight", {3, 256}}});
  EXPECT_ERROR(open(),
               "model.safetensors: tensor p.weight: config says 4 bits group 64, shapes say 8 bits group 64 "
               "(K = 256)");
  quantization(R"({"group_size":128,"bits":4,"p":{"bits":8}})");
  EXPECT_EQ(format(), "mlx8-g64-bf16");
}

TEST_F(Mlx, OverridesInheritNothing) {
  auto both = module_arrays("p", {3}, 256, 8, 64);
  for (const BuiltArray& array : module_arrays("q", {3}, 256, 4, 128)) both.push_back(array);
  arrays(both);
  quantization(R"({"group_size":128,"bits":4,"p":{"bits":8}})");
  EXPECT_EQ(format("p.weight"), "mlx8-g64-bf16");
  EXPECT_EQ(format("q.weight"), "mlx4-g128-bf16");
  quantization(R"({"group_size":32,"bits":4,"mode":"mxfp4","p":{"bits":8},"q":{"group_size":128}})");
  EXPECT_EQ(format("p.weight"), "mlx8-g64-bf16");
  quantization(R"({"group_size":128,"bits":4,"p":{"group_size":64,"bits":8},"q":true,"notes":"x","n":3})");
  EXPECT_EQ(format("q.weight"), "mlx4-g128-bf16");
  quantization(R"({"p":{"bits":8},"q":true})");
  EXPECT_ERROR(open(), "config.json: quantization of q: true, but there is no width at the top level");
}

TEST_F(Mlx, OverridesMustFit) {
  arrays(module_arrays("p", {3}, 256, 4, 64));
  quantization(R"({"group_size":64,"bits":4,"p":false})");
  EXPECT_ERROR(open(), "tensor p.weight: config says \"p\" is not quantised, but p.scales exists");
  quantization(R"({"group_size":64,"bits":4,"nowhere":{"bits":8}})");
  EXPECT_ERROR(open(), "config.json: quantization of nowhere: no tensor nowhere.weight");
  quantization(R"({"group_size":64,"bits":4,"nowhere":false})");
  EXPECT_ERROR(open(), "quantization of nowhere: no tensor");
  arrays({{"p.weight", DType::BF16, {3, 256}, ""}});
  quantization(R"({"group_size":64,"bits":4,"p":{"bits":8}})");
  EXPECT_ERROR(open(), "quantization of p: config says 8 bits group 64, but p.scales does not exist");
  quantization(R"({"group_size":64,"bits":4,"p":false})");
  EXPECT_EQ(format(), "bf16");
}

TEST_F(Mlx, OverrideAliasesSeenInTheWild) {
  arrays(module_arrays("language_model.model.layers.0.mlp.gate", {3}, 256, 8, 64));
  const std::string name = "language_model.model.layers.0.mlp.gate.weight";
  quantization(R"({"group_size":64,"bits":4,"model.language_model.layers.0.mlp.gate":{"bits":8}})");
  EXPECT_EQ(format(name), "mlx8-g64-bf16");
  quantization(R"({"group_size":64,"bits":4,"model.layers.0.mlp.gate":{"bits":8}})");
  EXPECT_EQ(format(name), "mlx8-g64-bf16");
  quantization(
      R"({"bits":4,"model.layers.0.mlp.gate":{"bits":8},"model.language_model.layers.0.mlp.gate":{"bits":8}})");
  EXPECT_ERROR(open(), "a second entry for module language_model.model.layers.0.mlp.gate");
}

TEST_F(Mlx, RefusesWidthsThatDoNotExist) {
  arrays(module_arrays("p", {3}, 256, 4, 64));
  for (const char* bad : {R"({"group_size":64,"bits":7})", R"({"group_size":16,"bits":4})",
                          R"({"group_size":64,"bits":0})", R"({"group_size":64,"bits":9})",
                          R"({"group_size":64,"bits":4,"mode":"mxfp4"})", R"({"group_size":256,"bits":4})"}) {
    quantization(bad);
    EXPECT_ERROR(open(), "config.json: quantization: ", "which MLX does not have");
  }
  quantization(R"({"bits":4,"p":{"bits":7}})");
  EXPECT_ERROR(open(), "quantization of p: 7 bits group 64, which MLX does not have");
  quantization(R"({"bits":4,"mode":"int4"})");
  EXPECT_ERROR(open(), "mode \"int4\"; affine, mxfp4, mxfp8 or nvfp4 expected");
  quantization(R"({"bits":-4})");
  EXPECT_ERROR(open(), "\"bits\"");
  config("{}");
  expect_shapes({{"p.weight", {3, 256}}});
  arrays(module_arrays("p", {3}, 256, 7, 64));
  EXPECT_ERROR(open(), "tensor p.weight: shapes say 7 bits group 64 (K = 256), which MLX does not have");
  arrays(module_arrays("p", {3}, 256, 4, 16));
  EXPECT_ERROR(open(), "shapes say 4 bits group 16");
}

TEST_F(Mlx, RefusesRowsThatDoNotDivide) {
  config("{}");
  arrays({{"p.weight", DType::U32, {3, 32}, ""},
          {"p.scales", DType::F16, {3, 5}, ""},
          {"p.biases", DType::F16, {3, 5}, ""}});
  expect_shapes({{"p.weight", {3, 256}}});
  EXPECT_ERROR(open(), "tensor p.weight: 5 groups a row do not divide K = 256");
  expect_shapes({});
  EXPECT_ERROR(open(), "tensor p.weight: 32 words a row do not divide into 5 groups");
  arrays(module_arrays("p", {3}, 256, 4, 64));
  expect_shapes({{"p.weight", {3, 300}}});
  EXPECT_ERROR(open(), "32 words a row are no whole number of bits for K = 300");
  expect_shapes({{"p.weight", {4, 256}}});
  EXPECT_ERROR(open(), "packed shape [3, 32], the architecture expects [4, 256]");
  expect_shapes({{"p.weight", {3, 0}}});
  EXPECT_ERROR(open(), "do not divide K = 0");
}

TEST_F(Mlx, RefusesInconsistentArrays) {
  quantization(R"({"group_size":64,"bits":4})");
  auto set = module_arrays("p", {3}, 256, 4, 64);
  const auto with = [&](std::size_t index, const BuiltArray& array) {
    auto changed = set;
    changed[index] = array;
    arrays(changed);
  };
  with(2, {"p.biases", DType::BF16, {3, 2}, ""});
  EXPECT_ERROR(open(), "tensor p.weight: scales are BF16 [3, 4], biases BF16 [3, 2]; they must agree");
  with(2, {"p.biases", DType::F16, {3, 4}, ""});
  EXPECT_ERROR(open(), "scales are BF16 [3, 4], biases F16 [3, 4]");
  with(1, {"p.scales", DType::BF16, {4, 4}, ""});
  EXPECT_ERROR(open(), "packed shape [3, 32] and scales [4, 4] differ before the last axis");
  with(1, {"p.scales", DType::BF16, {12}, ""});
  EXPECT_ERROR(open(), "differ before the last axis");
  with(1, {"p.scales", DType::I8, {3, 4}, ""});
  EXPECT_ERROR(open(), "scales stored as I8; F16, BF16, F32 or U8 expected");
  with(0, {"p.weight", DType::I32, {3, 32}, ""});
  EXPECT_ERROR(open(), "tensor p.weight: stored as I32, U32 expected beside .scales");
  with(0, {"p.weight", DType::U32, {96}, ""});
  EXPECT_ERROR(open(), "packed shape [96], at least two axes expected");
  arrays({set[0], set[1]});
  EXPECT_ERROR(open(), "tensor p.weight: has .scales but no .biases");
  arrays({set[0]});
  EXPECT_ERROR(open(), "tensor p.weight: packed (U32), but there is no p.scales");
  arrays({set[1], set[2]});
  EXPECT_ERROR(open(), "tensor p.scales: there is no p.weight");
  arrays({set[2]});
  EXPECT_ERROR(open(), "tensor p.biases: there is no p.scales");
  arrays({{"p.weight", DType::U32, {3, 0}, ""},
          {"p.scales", DType::F16, {3, 0}, ""},
          {"p.biases", DType::F16, {3, 0}, ""}});
  EXPECT_ERROR(open(), "rows without weights");
}

TEST_F(Mlx, HugeShapesOfEmptyArraysAreRefused) {
  quantization(R"({"group_size":64,"bits":4})");
  const std::uint64_t huge = std::uint64_t{1} << 60;
  arrays({{"p.weight", DType::U32, {0, huge}, ""},
          {"p.scales", DType::F16, {0, huge / 8}, ""},
          {"p.biases", DType::F16, {0, huge / 8}, ""}});
  EXPECT_ERROR(open(), "p.", "has no elements");
  arrays({{"p.weight", DType::U32, {0, huge / 64}, ""},
          {"p.scales", DType::F16, {0, huge * 8}, ""},
          {"p.biases", DType::F16, {0, huge * 8}, ""}});
  EXPECT_ERROR(open(), "p.", "has no elements");
}

TEST_F(Mlx, FpModesByTheirScales) {
  struct Case {
    const char* mode;
    std::uint64_t bits, group;
  };
  for (const Case& c : {Case{"mxfp4", 4, 32}, Case{"mxfp8", 8, 32}, Case{"nvfp4", 4, 16}}) {
    arrays(fp_arrays("p", 64, c.bits, c.group));
    config("{}");
    EXPECT_EQ(format(), c.mode);
    expect_shapes({{"p.weight", {2, 64}}});
    EXPECT_EQ(format(), c.mode);
    quantization(fmt::format(R"({{"group_size":{},"bits":{},"mode":"{}"}})", c.group, c.bits, c.mode));
    EXPECT_EQ(format(), c.mode);
    quantization(fmt::format(R"({{"mode":"{}"}})", c.mode));
    EXPECT_EQ(format(), c.mode);
    EXPECT_EQ(open()->at("p.weight").shape, (Shape{2, 64}));
    quantization(R"({"group_size":64,"bits":4})");
    EXPECT_ERROR(open(), "tensor p.weight: config says 4 bits group 64, shapes say ", c.mode);
    options_ = {};
    EXPECT_ERROR(open(), "tensor p.weight: config says 4 bits group 64, shapes say ", c.mode);
  }
  quantization(R"({"mode":"mxfp4"})");
  arrays(fp_arrays("p", 64, 8, 16));
  EXPECT_EQ(format(), "mxfp4") << "bits * group is 128; K is unknown";
  expect_shapes({{"p.weight", {2, 64}}});
  EXPECT_ERROR(open(), "U8 scales and shapes of 8 bits group 16; mxfp4 (4, 32)");
  arrays(fp_arrays("p", 64, 4, 64));
  options_ = {};
  EXPECT_ERROR(open(), "config says mxfp4 4 bits group 32, shapes say mxfp8 8 bits group 32");
  config("{}");
  EXPECT_EQ(format(), "mxfp8");
  arrays(fp_arrays("p", 64, 2, 16));
  EXPECT_ERROR(open(), "U8 scales and shapes of bits * group = 32; mxfp4 (128), mxfp8 (256) or nvfp4 (64)");
}

TEST_F(Mlx, AffineModuleUnderAnFpConfigIsRefused) {
  arrays(module_arrays("p", {3}, 256, 4, 32));
  quantization(R"({"mode":"mxfp4"})");
  EXPECT_ERROR(open(), "config says mxfp4 4 bits group 32", "shapes say affine");
  auto set = fp_arrays("p", 64, 4, 32);
  set.push_back({"p.biases", DType::F16, {2, 2}, ""});
  arrays(set);
  EXPECT_ERROR(open(), "U8 scales (an fp mode) and .biases together");
}

TEST_F(Mlx, GlobalScaleOfNvfp4) {
  auto set = fp_arrays("p", 16, 4, 16);
  set[0].bytes = std::string(16, '\x22');  // every code 2: 1.0
  set[1].bytes = "\x38\x38";               // 1.0
  arrays(set);
  quantization(R"({"mode":"nvfp4"})");
  EXPECT_EQ(decode_all(open()->at("p.weight")), std::vector<float>(32, 1.0f));
  set.push_back({"p.global_scale", DType::F32, {}, test::bytes_of<float>({448.0f * 6.0f * 2.0f})});
  arrays(set);
  EXPECT_EQ(open()->tensors.size(), 1u);
  EXPECT_EQ(decode_all(open()->at("p.weight")), std::vector<float>(32, 2.0f));
  set[2] = {"p.global_scale", DType::F32, {}, test::bytes_of<float>({NAN})};
  arrays(set);
  EXPECT_ERROR(open(), "tensor p.weight: .global_scale nan is not finite");
  set[2] = {"p.global_scale", DType::F16, {}, ""};
  arrays(set);
  EXPECT_ERROR(open(), ".global_scale is F16 [], one F32 expected");
  auto affine = module_arrays("p", {3}, 256, 4, 64);
  affine.push_back({"p.global_scale", DType::F32, {}, ""});
  arrays(affine);
  quantization(R"({"group_size":64,"bits":4})");
  EXPECT_ERROR(open(), "a .global_scale beside 4 bits group 64; only nvfp4 has one");
}

TEST_F(Mlx, StackedExpertsKeepTheirAxes) {
  arrays(module_arrays("model.layers.0.mlp.switch_mlp.up_proj", {4, 6}, 128, 3, 32));
  quantization(R"({"group_size":32,"bits":3})");
  const CheckpointPtr opened = open();
  const Tensor& tensor = opened->at("model.layers.0.mlp.switch_mlp.up_proj.weight");
  EXPECT_EQ(tensor.shape, (Shape{4, 6, 128}));
  EXPECT_EQ(as_matrix(tensor.shape).rows, 24u);
}

TEST_F(Mlx, WarnsOfNarrowRouters) {
  arrays(module_arrays("model.layers.0.mlp.gate", {4}, 128, 4, 64));
  quantization(R"({"group_size":64,"bits":4})");
  ASSERT_EQ(open()->warnings.size(), 1u);
  EXPECT_THAT(open()->warnings[0],
              testing::HasSubstr("1 routers below 8 bits (first: model.layers.0.mlp.gate, 4 bits"));
  arrays(module_arrays("model.layers.0.mlp.gate", {4}, 128, 8, 64));
  quantization(R"({"group_size":64,"bits":8})");
  EXPECT_TRUE(open()->warnings.empty());
  arrays(module_arrays("model.layers.0.mlp.gate_proj", {4}, 128, 4, 64));
  quantization(R"({"group_size":64,"bits":4})");
  EXPECT_TRUE(open()->warnings.empty());
}

TEST_F(Mlx, WhereTheConfigIsLookedFor) {
  arrays(module_arrays("p", {3}, 256, 4, 64));
  config(R"({"quantization_config":{"group_size":64,"bits":4}})");
  EXPECT_EQ(format(), "mlx4-g64-bf16");
  config(R"({"text_config":{"quantization":{"group_size":32,"bits":8}}})");
  EXPECT_EQ(format(), "mlx8-g32-bf16");
  config(R"({"quantization":{"group_size":64,"bits":4},"quantization_config":{"group_size":32,"bits":8}})");
  EXPECT_EQ(format(), "mlx4-g64-bf16");
  config(R"({"quantization_config":{"quant_method":"fp8","bits":4}})");
  EXPECT_ERROR(open(), "config.json: quantised by \"fp8\", which Assay does not read");
  config(R"({"text_config":{"quantization_config":{"quant_method":"awq"}}})");
  EXPECT_ERROR(open(), "quantised by \"awq\"");
  EXPECT_FALSE(has_mlx_quantization(Json::parse(R"({"quantization_config":{"quant_method":"fp8"}})")));
  config(R"({"quantization":{"quant_method":"x"}})");
  EXPECT_ERROR(open(), "quantised by \"x\", which is not MLX's scheme");
}

TEST_F(Mlx, PlainCheckpointsAreNotMlx) {
  config("{}");
  arrays({{"p.weight", DType::BF16, {3, 64}, ""}, {"p.scales", DType::F32, {3}, ""}});
  EXPECT_EQ(open()->container, Container::huggingface);
  EXPECT_EQ(open()->tensors.size(), 2u);
  config(R"({"quantization_config":{"quant_method":"fp8"}})");
  EXPECT_ERROR(open(), "quantised by \"fp8\"");
  config(R"({"quantization_config":null})");
  EXPECT_EQ(open()->container, Container::huggingface);
}

/// Every width of a real checkpoint equals what its own config says, read here by the plain rules.
void expect_widths_of_config(const std::string& directory) {
  const CheckpointPtr opened = open_checkpoint(directory);
  const Json quantization = opened->config.at("quantization");
  EXPECT_EQ(opened->container, Container::mlx);
  std::size_t packed = 0;
  for (const Tensor& tensor : opened->tensors) {
    const auto width = mlx_width_of(*tensor.format);
    if (!width) continue;
    ++packed;
    const std::string module = tensor.name.substr(0, tensor.name.size() - 7);
    const Json& entry = quantization.contains(module) ? quantization.at(module) : quantization;
    EXPECT_EQ(width->bits, entry.at("bits").get<std::uint64_t>()) << tensor.name;
    EXPECT_EQ(width->group, entry.at("group_size").get<std::uint64_t>()) << tensor.name;
    EXPECT_TRUE(tensor.format->name().ends_with("-bf16")) << tensor.name;
    const MatrixShape matrix = as_matrix(tensor.shape);
    std::vector<float> row(matrix.columns);
    decode_rows(tensor, matrix.rows - 1, 1, row);
  }
  EXPECT_GT(packed, 40u);
  EXPECT_TRUE(opened->warnings.empty());
}

TEST(MlxReference, MoeQ4G8Opens) {
  ASSAY_NEEDS_SHARED("reference/mlx/moe-q4g8");
  expect_widths_of_config(test::shared("reference/mlx/moe-q4g8"));
}

TEST(MlxReference, NextEveryBitsOpens) {
  ASSAY_NEEDS_SHARED("reference/mlx/next-everybits");
  expect_widths_of_config(test::shared("reference/mlx/next-everybits"));
}

}  // namespace
}  // namespace assay
