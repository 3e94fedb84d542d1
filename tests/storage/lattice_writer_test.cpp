// Writing lattice directories: golden files byte for byte, the round trip, and what is refused before any
// byte.
#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/formats/table.h"
#include "assay/storage/lattice.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

/// The value generator of the golden vectors.
std::vector<float> seeded(int seed, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>((37 * static_cast<int>(i) + 13 * seed) % 200 - 100) / 4;
  return values;
}

/// One tensor by its format's own rule, as plane bytes.
std::vector<std::byte> encoded(const Format& format, const std::vector<float>& values) {
  const Layout layout = format.layout(values.size());
  const std::uint64_t units = unit_count(layout, 1, values.size());
  std::vector<Params> params(layout.has_params ? units : 0);
  std::vector<Code> codes(units * layout.run);
  format.reference(values, params, codes);
  std::vector<std::byte> bytes(units * layout.planes[0].record_bytes);
  const MutableBytes plane = bytes;
  format.pack(params, codes, std::span(&plane, 1));
  return bytes;
}

WriterInput input_of(std::vector<PlannedTensor> tensors) {
  WriterInput input;
  input.tensors = std::move(tensors);
  input.config = {{"model_type", "llama"}};
  return input;
}

TEST(LatticeWriter, ReproducesTheGoldenFiles) {
  const TemporaryFolder folder;
  const std::vector<int> seeds = {1, 2, 2, 2, 3};
  const std::vector<PlannedTensor> tensors = {{"a.weight", {2, 33}, find_format("khq4")},
                                              {"b.weight", {1, 32}, find_format("khq4")},
                                              {"c.weight", {1, 32}, find_format("khw3")},
                                              {"d.weight", {1, 32}, find_format("khq3")},
                                              {"e.norm", {4}, find_format("khf1")}};
  const auto writer = make_lattice_writer(folder.path(), input_of(tensors));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::size_t count = 1;
    for (const std::uint64_t dim : tensors[i].shape) count *= dim;
    writer->write(i, 0, 0, encoded(*tensors[i].format, seeded(seeds[i], count)));
  }
  writer->finish();

  const std::pair<const char*, const char*> golden[] = {
      {"a_weight.q4",
       "4b48513402000000020000000200000000000000210000000000000042000000000000006f42f0cd3196fc52b81e74da3096e"
       "c52a71d63c9"
       "6f4200ce2f85eb41a70d63c92e75da3196fc52b86f4120cd0f888888888888888888888888888888"},
      {"b_weight.q4",
       "4b48513402000000020000000100000000000000200000000000000020000000000000006f4210ce52a81d63c92f85eb41a70"
       "d63c92e75da"},
      {"c_weight.w3",
       "4b4857330100000002000000010000000000000020000000000000002000000000000000e54610ce116b68f423d6d16a64eca"
       "3d5"},
      {"d_weight.q3",
       "4b4851330100000002000000010000000000000020000000000000002000000000000000e54610ce49e2789279d2749e1ce71"
       "8c7"},
      {"e_norm.f16", "4b484631010000000100000004000000000000000400000000000000a0cb00c68042404a"}};
  for (const auto& [name, hex] : golden) EXPECT_EQ(to_hex(read_bytes(folder.file(name))), hex) << name;
  const auto hash = [&](const char* name) {
    const std::string bytes = read_bytes(folder.file(name));
    return sha256_hex(std::as_bytes(std::span(bytes)));
  };
  EXPECT_EQ(hash("a_weight.q4"), "5a46caf77d5ffb2c9967ca2cffa47ce5d2b177c8411022c2752a69597ec2b176");
  EXPECT_EQ(hash("b_weight.q4"), "9ed192210480155f60cd660157d554555d943f1b5f1b9c45be41b5af8e169d8c");
}

TEST(LatticeWriter, RoundTrips) {
  const TemporaryFolder folder;
  WriterInput input =
      input_of({{"z.weight", {3, 33}, find_format("khq4-sym")}, {"a.norm", {5}, find_format("khf1")}});
  input.config["quantization"] = {{"bits", 4}};  // describes the source's planes, not these
  input.sidecars = {{"tokenizer.json", "{\"x\": 1}"}, {"config.json", "{}"}};
  const auto payload = encoded(*find_format("khq4-sym"), seeded(7, 99));
  const auto norm = encoded(*find_format("khf1"), seeded(8, 5));
  {
    const auto writer = make_lattice_writer(folder.path(), std::move(input));
    writer->write(0, 0, 20, Bytes(payload).subspan(20));  // any order, in pieces
    writer->write(1, 0, 0, norm);
    writer->write(0, 0, 0, Bytes(payload).first(20));
    writer->add_file("assay.json", "{}");
    writer->finish();
  }
  const CheckpointPtr model = open_lattice(folder.path().string());
  ASSERT_EQ(model->tensors.size(), 2u);
  EXPECT_EQ(model->tensors[0].name, "a.norm");
  EXPECT_EQ(decode_all(model->tensors[0]), seeded(8, 5));
  EXPECT_EQ(model->tensors[1].shape, (Shape{3, 33}));
  EXPECT_TRUE(std::equal(payload.begin(), payload.end(), model->tensors[1].planes[0].begin(),
                         model->tensors[1].planes[0].end()));
  EXPECT_EQ(model->config, Json::parse(R"({"model_type": "llama"})"));
  EXPECT_EQ(model->sidecars.at("tokenizer.json"), "{\"x\": 1}");
  EXPECT_EQ(read_bytes(folder.file("assay.json")), "{}");
  EXPECT_EQ(Json::parse(read_bytes(folder.file("quantize_index.json"))), Json::parse(R"([
    {"name":"a.norm","file":"a_norm.f16","quantized":false,"shape":[5],"numel":5},
    {"name":"z.weight","file":"z_weight.q4","quantized":true,"shape":[3,33],"numel":99}])"));
}

TEST(LatticeWriter, KeepsTheTextOfAnUnchangedConfig) {
  const TemporaryFolder folder;
  WriterInput input = input_of({{"a.norm", {0}, find_format("khf1")}});
  input.sidecars["config.json"] = "{ \"model_type\" :\"llama\"}";
  make_lattice_writer(folder.path(), std::move(input))->finish();
  EXPECT_EQ(read_bytes(folder.file("config.json")), "{ \"model_type\" :\"llama\"}");
  EXPECT_EQ(open_lattice(folder.path().string())->tensors.at(0).elements(),
            0u);  // nothing to write is written
}

TEST(LatticeWriter, TheIndexNamesFormatsWhenThereAreThreeBitTensors) {
  const TemporaryFolder folder;
  const auto writer = make_lattice_writer(folder.path(), input_of({{"b.weight", {32}, find_format("khq3")},
                                                                   {"a.weight", {32}, find_format("khq4")}}));
  writer->write(0, 0, 0, encoded(*find_format("khq3"), seeded(2, 32)));
  writer->write(1, 0, 0, encoded(*find_format("khq4"), seeded(2, 32)));
  writer->finish();
  const Json index = Json::parse(read_bytes(folder.file("quantize_index.json")));
  EXPECT_EQ(index.at(0).at("format"), "q4");
  EXPECT_EQ(index.at(1).at("format"), "q3");
}

TEST(LatticeWriter, RefusesAnIncompletePlane) {
  const TemporaryFolder folder;
  const auto writer = make_lattice_writer(folder.path(), input_of({{"a.weight", {64}, find_format("khq4")}}));
  EXPECT_ERROR(writer->finish(), "a_weight.q4: tensor a.weight: 0 of 40 payload bytes written");
  writer->write(0, 0, 20, std::vector<std::byte>(20));
  EXPECT_ERROR(writer->finish(), "20 of 40 payload bytes");
}

TEST(LatticeWriter, RefusesBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  const auto refused = [&](std::vector<PlannedTensor> tensors, const Json& config, const char* why) {
    WriterInput input;
    input.tensors = std::move(tensors);
    input.config = config;
    EXPECT_ERROR(make_lattice_writer(folder.path(), std::move(input)), folder.path().c_str(), why);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  };
  const FormatPtr q4 = find_format("khq4"), w3 = find_format("khw3"), f16 = find_format("khf1");
  refused({{"a.b", {4}, f16}, {"a_b", {4}, f16}}, {}, "tensors a.b and a_b would share the file name a_b");
  refused({{"a.b", {4}, f16}, {"a_b", {4}, q4}}, {}, "share the file name");
  refused({{"a", {4}, find_format("f32")}}, {}, "tensor a: format f32 cannot be in a lattice directory");
  refused({{"a", {4}, q4}}, {{"tie_word_embeddings", false}}, "lm_head.weight is missing");
  refused({{"lm_head.weight", {4}, q4}}, {{"tie_word_embeddings", true}}, "lm_head.weight is present");
  const Json config = {{"hidden_size", 32u}, {"intermediate_size", 64u}};
  const PlannedTensor gate = {"l.mlp.gate_proj.weight", {64, 32}, w3};
  refused({gate, {"l.mlp.up_proj.weight", {64, 32}, q4}}, config, "up_proj.weight: a .q4 file, .w3 expected");
  Json moe = config;
  moe["num_experts"] = 4u;
  refused({gate}, moe, "mixture-of-experts");
}

TEST(LatticeWriter, SaysWhatDoesNotFit) {
  const auto misfit = [](const char* format, Shape shape, const char* name = "a.weight") {
    return lattice_misfit({name, std::move(shape), find_format(format)});
  };
  for (const char* format : {"khq4", "khq4-sym", "khw3", "khq3", "khq3-sym", "khf1"})
    EXPECT_EQ(misfit(format, {2, 33}), std::nullopt) << format;
  for (const char* format : {"khq4-v1", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "gf16"})
    EXPECT_NE(misfit(format, {2, 32})->find(format), std::string::npos);
  EXPECT_NE(misfit("khq4", {}), std::nullopt);
  EXPECT_NE(misfit("khq4", {1, 1, 1, 1, 1, 1, 1, 1, 1}), std::nullopt);
  EXPECT_NE(misfit("khq4", {std::uint64_t{1} << 33, std::uint64_t{1} << 33}), std::nullopt);
  EXPECT_NE(misfit("khf1", {std::uint64_t{1} << 63}), std::nullopt);
  EXPECT_NE(misfit("khq4", {32}, "na\xc3\xafve"), std::nullopt);
}

}  // namespace
}  // namespace assay
