// Folders that other toolkits wrote: decoded bit for bit as numpy says
// (tests/reference/foreign_checkpoints.py), and refused where anything in them does not fit.
#include "assay/storage/huggingface_quantised.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/storage/checkpoint.h"
#include "assay/storage/tensor_blocks.h"
#include "tests/storage/safetensors_builder.h"

namespace assay {
namespace {

using test::BuiltArray;

std::string foreign_folder(const std::string& name) {
  return test::source_directory() + "/tests/data/foreign/" + name;
}

std::vector<BuiltArray> arrays_of(const std::string& path) {
  const auto file = MappedFile::open(path);
  std::vector<BuiltArray> arrays;
  for (const SafetensorsEntry& entry : parse_safetensors_header(file->bytes(), path)) {
    const Bytes bytes = file->bytes().subspan(entry.begin, entry.end - entry.begin);
    arrays.push_back({entry.name, entry.dtype, entry.shape,
                      std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
  }
  return arrays;
}

std::vector<float> floats_of(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Weights as units hold them, through read_units.
std::vector<float> through_units(const Tensor& tensor) {
  const MatrixShape shape = as_matrix(tensor.shape);
  const Layout layout = tensor.format->layout(shape.columns);
  std::vector<float> weights;
  for (const RowBlock& block : row_blocks(*tensor.format, shape, 512)) {
    UnitBuffer buffer(layout, block.units);
    read_units(tensor, block, buffer);
    std::vector<float> rows(block.rows * shape.columns);
    tensor.format->decode(buffer.params, buffer.codes, rows);
    order_weights(tensor.stored, rows);
    weights.insert(weights.end(), rows.begin(), rows.end());
  }
  return weights;
}

TEST(ForeignCheckpoints, DecodeToWhatNumpySays) {
  std::set<std::string> formats;
  for (const char* name : {"gptq", "gptq_v2", "compressed_tensors", "fp8"}) {
    const CheckpointPtr model = open_checkpoint(foreign_folder(name));
    EXPECT_EQ(model->container, Container::huggingface);
    EXPECT_FALSE(model->config.contains("quantization_config"));
    const auto expected = arrays_of(foreign_folder(name) + "/expected.safetensors");
    ASSERT_FALSE(expected.empty());
    EXPECT_EQ(model->tensors.size(), expected.size() + 2);  // and what is left plain
    for (const BuiltArray& array : expected) {
      SCOPED_TRACE(fmt::format("{}, {}", name, array.name));
      const Tensor& tensor = model->at(array.name);
      const std::vector<float> weights = floats_of(array.bytes);
      formats.insert(tensor.format->name());
      ASSERT_EQ(tensor.shape, array.shape);
      EXPECT_EQ(decode_all(tensor), weights);
      EXPECT_EQ(through_units(tensor), weights);
      const std::uint64_t columns = tensor.shape[1], first = tensor.shape[0] / 2;
      std::vector<float> some(columns * 2);
      decode_rows(tensor, first, 2, some);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), weights.begin() + first * columns));
      const PackedMatrix matrix = packed_matrix(tensor);
      EXPECT_EQ(matrix.packed_bytes(), tensor.stored_bytes());
      EXPECT_EQ(matrix.planes().has_value(), is_plainly_stored(tensor));
      std::vector<float> sliced(columns);
      matrix.slice(first, 2).decode(1, 1, sliced);
      EXPECT_TRUE(std::equal(sliced.begin(), sliced.end(), some.begin() + columns));
    }
    EXPECT_EQ(model->at("lm_head.weight").format->name(), "f16");
  }
  EXPECT_EQ(formats,
            (std::set<std::string>{"gptq4-g32-f16", "gptq3-g64-f16", "gptq8-row-f16", "gptq2-g32-f16",
                                   "gptq4-v2-g32-bf16", "ct4-g32-bf16", "ct4-zp-g32-f16", "ct8-row-f32",
                                   "ct2-zp-g64-bf16", "fp8-b128-f32", "fp8-b128-bf16"}));
}

/// Experts stacked on reading: two matrices as the parts of one.
TEST(ForeignCheckpoints, PartsAreReadAsTheyLie) {
  const CheckpointPtr model = open_checkpoint(foreign_folder("gptq"));
  const Tensor& part = model->at("model.layers.0.self_attn.k_proj.weight");  // act-order
  Tensor stack;
  stack.name = "stack.weight";
  stack.shape = {2, part.shape[0], part.shape[1]};
  stack.format = part.format;
  stack.parts = {part, part};
  const std::vector<float> once = decode_all(part);
  std::vector<float> twice = once;
  twice.insert(twice.end(), once.begin(), once.end());
  EXPECT_EQ(decode_all(stack), twice);
  EXPECT_TRUE(has_permuted_columns(stack));
  const MatrixShape shape = as_matrix(stack.shape);
  const RowBlock block{10, 12, 10 * 3, 12 * 3};  // of both parts, rows of three units
  UnitBuffer buffer(stack.format->layout(shape.columns), block.units);
  read_units(stack, block, buffer);
  std::vector<float> rows(block.rows * shape.columns);
  stack.format->decode(buffer.params, buffer.codes, rows);
  order_weights(part.stored, rows);
  EXPECT_TRUE(std::equal(rows.begin(), rows.end(), twice.begin() + 10 * 96));
}

/// A copy of a stored folder to change.
class Foreign : public ::testing::Test {
 protected:
  void start(const std::string& name) {
    arrays_ = arrays_of(foreign_folder(name) + "/model.safetensors");
    config_ = read_json_file(foreign_folder(name) + "/config.json");
  }
  Json& quantization() { return config_["quantization_config"]; }
  BuiltArray& array(const std::string& name) {
    const auto found = std::ranges::find(arrays_, name, &BuiltArray::name);
    EXPECT_NE(found, arrays_.end()) << name;
    return *found;
  }
  void drop(const std::string& name) {
    EXPECT_EQ(std::erase_if(arrays_, [&](const BuiltArray& a) { return a.name == name; }), 1u) << name;
  }
  /// With bytes of zeros.
  void reshape(const std::string& name, std::vector<std::uint64_t> shape) {
    array(name).shape = std::move(shape);
    array(name).bytes.clear();
  }
  template <class T>
  void poke(const std::string& name, std::size_t index, T value) {
    std::memcpy(array(name).bytes.data() + index * sizeof value, &value, sizeof value);
  }
  CheckpointPtr open() const {
    test::write_bytes(folder_.file("config.json"), config_.dump());
    test::write_bytes(folder_.file("model.safetensors"), test::build_safetensors(arrays_));
    return open_checkpoint(folder_.path().string());
  }

  std::vector<BuiltArray> arrays_;
  Json config_;
  test::TemporaryFolder folder_;
};

const std::string kQ = "model.layers.0.self_attn.q_proj", kK = "model.layers.0.self_attn.k_proj",
                  kO = "model.layers.0.self_attn.o_proj", kV = "model.layers.0.self_attn.v_proj";
const std::string kWhereQ = "model.safetensors: tensor " + kQ + ".weight: ";

TEST_F(Foreign, GptqShapesMustAgree) {
  const auto refused = [&](const std::string& suffix, std::vector<std::uint64_t> shape, const char* why) {
    start("gptq");
    reshape(kQ + suffix, std::move(shape));
    EXPECT_ERROR(open(), kWhereQ.c_str(), why);
  };
  refused(".qzeros", {3, 3}, ".qzeros is [3, 3]; [3, 2] expected");
  refused(".qzeros", {2, 2}, ".qzeros is [2, 2]; [3, 2] expected");
  refused(".scales", {3, 15}, ".scales is [3, 15]; [3, 16] expected");
  refused(".scales", {5, 16}, ".qzeros is [3, 2]; [5, 2] expected");
  refused(".qweight", {11, 16}, "are not 2, 3, 4 or 8 bits");  // cut short
  refused(".qweight", {12, 16, 1}, "a matrix expected");
  refused(".g_idx", {95}, "are not 2, 3, 4 or 8 bits");
  refused(".g_idx", {96, 1}, "are not 2, 3, 4 or 8 bits");
  start("gptq");
  array(kQ + ".scales").dtype = DType::I16;
  EXPECT_ERROR(open(), kWhereQ.c_str(), ".scales is stored as I16; F16 or BF16 expected");
}

TEST_F(Foreign, GptqNeedsAllOfAModule) {
  for (const char* suffix : {"scales", "qzeros"}) {
    start("gptq");
    drop(kQ + "." + suffix);
    EXPECT_ERROR(open(), kWhereQ.c_str(), (std::string("there is no .") + suffix).c_str());
  }
  start("gptq");
  drop(kQ + ".qweight");
  EXPECT_ERROR(open(), "q_proj.g_idx: of a packed module (gptq), but there is no", "q_proj.qweight");
  start("gptq");
  arrays_.push_back({kQ + ".weight", DType::F16, {16, 96}, ""});
  EXPECT_ERROR(open(), kWhereQ.c_str(), "there are both .weight and .qweight");
  start("gptq");  // groups in order are told by shapes as well
  drop(kQ + ".g_idx");
  EXPECT_EQ(open()->at(kQ + ".weight").format->name(), "gptq4-g32-f16");
}

TEST_F(Foreign, GptqGroupsOfColumnsAreChecked) {
  start("gptq");
  const std::string index = kK + ".g_idx";
  poke(index, 5, std::int32_t{3});
  EXPECT_ERROR(open(), "k_proj.weight", ".g_idx: column 5 is of group 3; there are 3");
  poke(index, 5, std::int32_t{-1});
  EXPECT_ERROR(open(), ".g_idx: column 5 is of group -1; there are 3");
  for (std::size_t k = 0; k < 96; ++k) poke(index, k, std::int32_t{k < 33 ? 0 : k < 64 ? 1 : 2});
  EXPECT_ERROR(open(), ".g_idx: group 0 has more than its 32 columns");
}

TEST_F(Foreign, GptqConfigurationIsCompared) {
  const auto refused = [&](const char* key, const Json& value, const char* why) {
    start("gptq");
    quantization()[key] = value;
    EXPECT_ERROR(open(), "config.json: quantised by \"gptq\": ", why);
  };
  refused("bits", 5, "5 bits; 2, 3, 4 or 8 expected");
  refused("checkpoint_format", "marlin", "checkpoint_format \"marlin\"; gptq or gptq_v2 expected");
  refused("pack_dtype", "int16", "pack_dtype \"int16\"; int32 expected");
  start("gptq_v2");
  quantization()["bits"] = 8;
  EXPECT_ERROR(open(), kWhereQ.c_str(), "shapes say 4 bits, quantization_config 8");
  start("gptq_v2");
  quantization()["group_size"] = 64;
  EXPECT_ERROR(open(), kWhereQ.c_str(), "shapes say groups of 32, quantization_config 64");
}

TEST_F(Foreign, BadScalesAndBytesAreNamed) {
  start("gptq");
  poke(kQ + ".scales", 16 + 2, std::uint16_t{0x7C00});  // group 1 of row 2
  EXPECT_ERROR(decode_all(open()->at(kQ + ".weight")), kWhereQ.c_str(), "block 7: scale inf is not finite");
  start("fp8");
  poke(kQ + ".weight_scale_inv", 3, std::nanf(""));  // of row 128 and columns 128 to 135
  EXPECT_ERROR(decode_all(open()->at(kQ + ".weight")), "block 2192: scale nan is not finite");
  start("fp8");
  poke(kQ + ".weight", 136, std::uint8_t{0xFF});
  EXPECT_ERROR(decode_all(open()->at(kQ + ".weight")), "block 17: code 0xff of element 0 is not a number");
}

TEST_F(Foreign, WhatIsSaidToBePackedMustBe) {
  const std::string down = "model.layers.0.mlp.down_proj", gate = "model.layers.0.mlp.gate_proj";
  const BuiltArray plain{gate + ".weight", DType::F16, {8, 32}, ""};
  for (const char* name : {"gptq", "compressed_tensors", "fp8"}) {
    start(name);
    arrays_.push_back(plain);
    EXPECT_ERROR(open(), "gate_proj.weight: stored plain (F16), but quantization_config", "does not leave");
  }
  start("gptq");  // "-:.*down_proj"
  arrays_.push_back({down + ".weight", DType::F16, {8, 32}, ""});
  EXPECT_EQ(open()->at(down + ".weight").format->name(), "f16");
  start("gptq");
  quantization()["lm_head"] = true;
  EXPECT_ERROR(open(), "tensor lm_head.weight: stored plain");
  start("compressed_tensors");
  quantization()["ignore"] = Json::array();
  EXPECT_ERROR(open(), "tensor lm_head.weight: stored plain");
  start("compressed_tensors");
  quantization()["ignore"] = {"re:.*lm_(head|tail)"};  // cannot be told: no objection
  EXPECT_EQ(open()->at("lm_head.weight").format->name(), "f16");
}

TEST_F(Foreign, WhatIsSaidToBePlainMustBe) {
  start("gptq");
  quantization()["dynamic"]["-:.*self_attn\\.q_proj$"] = Json::object();
  EXPECT_ERROR(open(), kWhereQ.c_str(), "packed (there is a .qweight), but quantization_config", "leaves");
  start("compressed_tensors");
  quantization()["ignore"].push_back("re:.*q_proj");
  EXPECT_ERROR(open(), kWhereQ.c_str(), "packed (there is a .weight_packed)");
  start("compressed_tensors");
  quantization()["ignore"].push_back(kQ);
  EXPECT_ERROR(open(), kWhereQ.c_str(), "packed (there is a .weight_packed)");
  start("fp8");
  quantization()["modules_to_not_convert"].push_back("model.layers.0");
  EXPECT_ERROR(open(), ".weight: packed (there is a .weight_scale_inv)");
  start("fp8");
  quantization()["modules_to_not_convert"] = "lm_head";
  EXPECT_ERROR(open(), "config.json", "\"modules_to_not_convert\" is string, a list of modules expected");
}

TEST_F(Foreign, CompressedTensorsShapesAndZerosMustAgree) {
  const auto refused = [&](const std::string& module, const std::string& suffix,
                           std::vector<std::uint64_t> shape, const char* why) {
    start("compressed_tensors");
    reshape(module + suffix, std::move(shape));
    EXPECT_ERROR(open(), why);
  };
  refused(kK, ".weight_zero_point", {2, 3}, ".weight_zero_point is [2, 3]; [3, 3] expected");
  refused(kQ, ".weight_scale", {15, 3}, ".weight_scale is [15, 3]; [16, 3] expected");
  refused(kQ, ".weight_scale", {16, 2}, "12 words and 2 groups for 96 columns, no zero points: not what");
  refused(kQ, ".weight_packed", {16, 11}, "11 words and 3 groups for 96 columns");
  refused(kO, ".weight_g_idx", {127}, ".weight_g_idx is I32 [127]; I32 [128] expected");
  start("compressed_tensors");
  drop(kK + ".weight_zero_point");
  EXPECT_EQ(open()->at(kK + ".weight").format->name(), "ct4-g32-f16");  // as another group of it says
  quantization()["config_groups"].erase("group_0");
  drop(kQ + ".weight_packed");
  EXPECT_ERROR(open(), "of a packed module (compressed-tensors)");
  start("compressed_tensors");
  drop(kQ + ".weight_shape");
  EXPECT_ERROR(open(), kWhereQ.c_str(), "there is no .weight_shape");
  start("compressed_tensors");
  poke(kQ + ".weight_shape", 0, std::int64_t{17});
  EXPECT_ERROR(open(), kWhereQ.c_str(), ".weight_shape says [17, 96], but .weight_packed has 16 rows");
  start("compressed_tensors");
  poke(kQ + ".weight_shape", 1, std::int64_t{-96});
  EXPECT_ERROR(open(), kWhereQ.c_str(), "says [16, -96]");
  start("compressed_tensors");
  for (std::size_t k = 0; k < 128; ++k) poke(kO + ".weight_g_idx", k, std::int32_t{-1});
  EXPECT_EQ(open()->at(kO + ".weight").stored.columns, nullptr);
}

TEST_F(Foreign, CompressedTensorsConfigurationIsCompared) {
  const auto refused = [&](const char* pointer, const Json& value, const char* why) {
    start("compressed_tensors");
    quantization()[Json::json_pointer(pointer)] = value;
    EXPECT_ERROR(open(), "config.json: quantised by \"compressed-tensors\": ", why);
  };
  refused("/format", "float-quantized", "format \"float-quantized\"; pack-quantized expected");
  refused("/config_groups/group_0/input_activations", {{"num_bits", 8}}, "quantises activations as well");
  refused("/config_groups/group_0/weights/num_bits", 3, "3 bits; 2, 4 or 8 expected");
  refused("/config_groups/group_0/weights/type", "float", "weights of type \"float\"; int expected");
  refused("/config_groups/group_0/weights/strategy", "tensor", "strategy \"tensor\"; group or channel");
  refused("/config_groups/group_0/weights/group_size", 48, "groups of 48; 32, 64 or 128 expected");
  refused("/config_groups", nullptr, "no object \"config_groups\"");
  refused("/transform_config", {{"R1", 1}}, "\"transform_config\", which is not read");
  refused("/sparsity_config", {{"format", "sparse-24-bitmask"}}, "weights are sparse");
}

TEST_F(Foreign, Fp8BlocksMustAgree) {
  start("fp8");
  reshape(kQ + ".weight_scale_inv", {2, 1});
  EXPECT_ERROR(open(), kWhereQ.c_str(), ".weight_scale_inv is [2, 1]; [2, 2] expected");
  start("fp8");
  drop(kQ + ".weight_scale_inv");
  EXPECT_ERROR(open(), kWhereQ.c_str(), "of a packed module (fp8), but there is no", ".weight_scale_inv");
  start("fp8");
  array(kQ + ".weight").dtype = DType::F8_E5M2;
  EXPECT_ERROR(open(), kWhereQ.c_str(), ".weight is stored as F8_E5M2; F8_E4M3 expected");
  start("fp8");
  quantization()["weight_block_size"] = {64, 64};
  EXPECT_ERROR(open(), "quantised by \"fp8\": weight_block_size is [64,64]; [128, 128] expected");
  quantization().erase("weight_block_size");
  EXPECT_ERROR(open(), "weight_block_size is absent");
  start("fp8");
  quantization()["activation_scheme"] = "static";
  EXPECT_ERROR(open(), "activation_scheme \"static\"; dynamic expected");
}

TEST_F(Foreign, UnknownSchemesSayWhatIsKnown) {
  start("gptq");
  quantization()["quant_method"] = "awq";
  EXPECT_ERROR(open(), "config.json: quantised by \"awq\", which Assay does not read; it reads gptq (",
               "compressed-tensors (", "fp8 (", "give the unquantised model");
  config_ = {{"model_type", "none"}};
  EXPECT_ERROR(open(), "packed (gptq), but config.json has no quantization_config");
}

}  // namespace
}  // namespace assay
