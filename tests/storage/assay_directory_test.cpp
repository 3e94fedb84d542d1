// Assay's own directory: what the manifest says is what the planes must be, and nothing else may lie there.
#include "assay/storage/assay_directory.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/formats/table.h"
#include "assay/storage/assay_directory_manifest.h"
#include "tests/storage/safetensors_builder.h"
#include "tests/storage/written_model.h"

namespace assay {
namespace {

using test::build_safetensors;
using test::BuiltArray;
using test::encode_tensor;
using test::NamedTensor;

class AssayDirectory : public ::testing::Test {
 protected:
  AssayDirectory() {
    tensors_ = {{"a.weight", encode_tensor(find_format("khq4"), {4, 64}, 1)},
                {"b.weight", encode_tensor(find_format("int6-row"), {3, 20}, 2)},
                {"norm.weight", encode_tensor(find_format("bf16"), {20}, 3)}};
    test::write_model(Container::assay, folder_.path(), tensors_);
    manifest_ = read_json_file(folder_.file(kManifestFile));
  }
  void arrays(const std::vector<BuiltArray>& arrays) {
    test::write_bytes(folder_.file(kSafetensorsFile), build_safetensors(arrays));
    manifest_.erase("files");
    save();
  }
  /// The planes as the writer made them, as empty arrays.
  static std::vector<BuiltArray> planes() {
    return {{"a.weight", DType::U8, {4, 40}, ""},
            {"b.weight", DType::U8, {3, 15}, ""},
            {"b.scales", DType::F16, {3}, ""},
            {"norm.weight", DType::BF16, {20}, ""}};
  }
  void save() { test::write_bytes(folder_.file(kManifestFile), manifest_.dump()); }
  CheckpointPtr open() {
    save();
    return open_checkpoint(folder_.path().string());
  }

  test::TemporaryFolder folder_;
  std::vector<NamedTensor> tensors_;
  Json manifest_;
};

TEST_F(AssayDirectory, OpensWhatItWrote) {
  const CheckpointPtr opened = open();
  EXPECT_EQ(opened->container, Container::assay);
  EXPECT_EQ(opened->config.at("model_type"), "none");
  EXPECT_EQ(opened->sidecars.at("tokenizer.json"), "{}");
  EXPECT_EQ(opened->tensors.size(), 3u);
  EXPECT_EQ(opened->manifest->at("schema"), 1);
  EXPECT_EQ(opened->manifest->at("tensors").at("a.weight").at("format"), "khq4");
  for (const NamedTensor& tensor : tensors_)
    EXPECT_EQ(decode_all(opened->at(tensor.name)), tensor.encoded.decoded);
  EXPECT_NO_THROW(verify_files(*opened));
  EXPECT_EQ(opened->find("a"), nullptr);
  EXPECT_ERROR(opened->at("c.weight"), folder_.path().c_str(), "tensor c.weight: missing");
}

TEST_F(AssayDirectory, RefusesOtherSchemasAndContainers) {
  const auto with = [&](const char* key, const Json& value) {
    Json changed = manifest_;
    if (value.is_discarded())
      changed.erase(key);
    else
      changed[key] = value;
    test::write_bytes(folder_.file(kManifestFile), changed.dump());
    return open_checkpoint(folder_.path().string());
  };
  const Json absent(Json::value_t::discarded);
  EXPECT_ERROR(with("schema", 2), "assay.json: schema 2, this assay", "reads 1");
  EXPECT_ERROR(with("schema", "1"), "\"schema\" is \"1\"");
  EXPECT_ERROR(with("schema", absent), "\"schema\" is missing");
  EXPECT_ERROR(with("container", "zip"),
               "container \"zip\"; assay, mlx, lattice, huggingface or gguf expected");
  EXPECT_ERROR(with("container", "gguf"), "container \"gguf\"");
  EXPECT_ERROR(with("container", absent), "\"container\" is missing");
  EXPECT_ERROR(with("container", "mlx"), "container \"mlx\", but the directory is huggingface");
  EXPECT_ERROR(with("tensors", absent), "no object \"tensors\"");
  EXPECT_ERROR(with("tensors", Json::array()), "no object \"tensors\"");
  test::write_bytes(folder_.file(kManifestFile), "[]");
  EXPECT_ERROR(open_checkpoint(folder_.path().string()), "holds array, a JSON object expected");
  test::write_bytes(folder_.file(kManifestFile), R"({"schema":1,"schema":1})");
  EXPECT_ERROR(open_checkpoint(folder_.path().string()), "duplicate key");
}

TEST_F(AssayDirectory, RefusesMalformedTensorEntries) {
  Json& entry = manifest_["tensors"]["a.weight"];
  const Json good = entry;
  entry["format"] = "khq5";
  EXPECT_ERROR(open(), "assay.json: tensor a.weight: format \"khq5\" is unknown");
  entry = good;
  entry["shape"] = Json::array({4, -64});
  EXPECT_ERROR(open(), "tensor a.weight: dimension is -64");
  entry["shape"] = Json::array({4.5});
  EXPECT_ERROR(open(), "tensor a.weight: dimension is 4.5");
  entry["shape"] = "big";
  EXPECT_ERROR(open(), "tensor a.weight: no \"shape\" of at most 8 dimensions");
  entry["shape"] = std::vector<int>(9, 1);
  EXPECT_ERROR(open(), "no \"shape\" of at most 8 dimensions");
  entry["shape"] = Json::array({1ull << 40, 1ull << 40});
  EXPECT_ERROR(open(), "assay.json: tensor a.weight: shape [1099511627776, 1099511627776] overflows 64 bits");
  entry["shape"] = Json::array({1ull << 61});
  EXPECT_ERROR(open(), "a.weight: plane a.weight is U8 [4, 40], U8 [1441151880758558720] expected");
  entry = good;
  entry["format"] = "q8_0";
  entry["shape"] = Json::array({4, 33});
  EXPECT_ERROR(open(), "assay.json: tensor a.weight: [4, 33] as q8_0: ");
  entry = good;
  entry["xxh3"] = "0x12";
  EXPECT_ERROR(open(), "tensor a.weight: \"xxh3\" is \"0x12\", up to 16 hexadecimal digits");
  entry["xxh3"] = "12";
  for (const Json& slices : {Json("12"), Json::array(), Json({"1", "2", "3"})}) {  // a.weight has 4 rows
    entry["xxh3_slices"] = slices;
    EXPECT_ERROR(open(), "tensor a.weight: \"xxh3_slices\" is no list", "4 rows");
  }
  entry["xxh3_slices"] = {"12", 3};
  EXPECT_ERROR(open(), "tensor a.weight: \"xxh3_slices\" is 3, up to 16");
  entry["xxh3_slices"] = {"12", "ff"};
  EXPECT_EQ(open()->at("a.weight").slice_checksums, (std::vector<std::uint64_t>{0x12, 0xff}));
  entry = 3;
  EXPECT_ERROR(open(), "assay.json: tensor a.weight: is number, an object expected");
}

TEST_F(AssayDirectory, RefusesPlanesOfAnotherKind) {
  auto changed = planes();
  EXPECT_NO_THROW((arrays(changed), open()));
  changed[0] = {"a.weight", DType::I8, {4, 40}, ""};
  arrays(changed);
  EXPECT_ERROR(open(),
               "model.safetensors: tensor a.weight: plane a.weight is I8 [4, 40], U8 [4, 40] expected for "
               "khq4 [4, 64]");
  changed = planes();
  changed[0].shape = {160};
  arrays(changed);
  EXPECT_ERROR(open(), "plane a.weight is U8 [160], U8 [4, 40] expected");
  changed = planes();
  changed[2].shape = {3, 1};
  arrays(changed);
  EXPECT_ERROR(open(), "tensor b.weight: plane b.scales is F16 [3, 1], F16 [3] expected");
  changed = planes();
  manifest_["tensors"]["a.weight"]["format"] = "khw3";
  arrays(changed);
  EXPECT_ERROR(open(), "plane a.weight is U8 [4, 40], U8 [4, 32] expected for khw3");
}

TEST_F(AssayDirectory, RefusesMissingAndExtraPlanes) {
  auto changed = planes();
  changed.erase(changed.begin() + 2);
  arrays(changed);
  EXPECT_ERROR(open(), folder_.path().c_str(),
               "tensor b.weight: plane b.scales is missing; int6-row needs it as F16 [3]");
  changed = planes();
  changed.push_back({"b.biases", DType::F16, {3}, ""});
  arrays(changed);
  EXPECT_ERROR(open(), "model.safetensors: tensor b.biases: assay.json does not mention it");
  changed = planes();
  changed.push_back({"c.weight", DType::BF16, {3}, ""});
  arrays(changed);
  EXPECT_ERROR(open(), "model.safetensors: tensor c.weight: assay.json does not mention it");
  arrays(planes());
  manifest_["tensors"]["c.weight"] = {{"format", "bf16"}, {"shape", {3}}};
  EXPECT_ERROR(open(), "tensor c.weight: plane c.weight is missing; bf16 needs it as BF16 [3]");
  manifest_["tensors"].erase("c.weight");
  manifest_["tensors"]["b.scales"] = {{"format", "f16"}, {"shape", {3}}};
  EXPECT_ERROR(open(), "tensor b.weight: plane b.scales already belongs to another tensor");
}

TEST_F(AssayDirectory, ChecksSizesAndNamesOfItsFiles) {
  Json& file = manifest_["files"][0];
  const Json good = file;
  file["bytes"] = good["bytes"].get<int>() + 1;
  EXPECT_ERROR(open(), "model.safetensors: ", "bytes, assay.json says");
  file = good;
  file["name"] = "other.safetensors";
  EXPECT_ERROR(open(), "assay.json: lists other.safetensors, which is no weight file of this directory");
  file["name"] = "../model.safetensors";
  EXPECT_ERROR(open(), "assay.json: files: \"../model.safetensors\" is not a plain file name");
  file = good;
  manifest_["files"].push_back(good);
  EXPECT_ERROR(open(), "assay.json: lists model.safetensors twice");
  manifest_["files"] = Json::array();
  EXPECT_ERROR(open(), "model.safetensors: not listed in ");
  manifest_["files"] = 3;
  EXPECT_ERROR(open(), "\"files\" is number, an array expected");
  manifest_["files"] = Json::array({Json::object()});
  EXPECT_ERROR(open(), "key \"name\" is missing");
}

TEST_F(AssayDirectory, VerifiesHashes) {
  std::string bytes = test::read_bytes(folder_.file(kSafetensorsFile));
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  test::write_bytes(folder_.file(kSafetensorsFile), bytes);
  const CheckpointPtr opened = open();
  EXPECT_ERROR(verify_files(*opened), "model.safetensors: sha256 ", "assay.json says ");
  manifest_["files"][0].erase("sha256");
  EXPECT_ERROR(verify_files(*open()), "file model.safetensors: no sha256 recorded");
  manifest_.erase("files");
  EXPECT_ERROR(verify_files(*open()), "no assay.json with file hashes to verify");
}

TEST_F(AssayDirectory, NamesWithoutWeightSuffix) {
  test::TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = {
      {"mlp.experts.down_proj", encode_tensor(find_format("mlx4-g32-f16"), {2, 3, 64}, 1)},
      {"attn.q_proj.bias", encode_tensor(find_format("f32"), {7}, 2)}};
  test::write_model(Container::assay, folder.path(), tensors);
  const auto arrays = open_safetensors_directory(folder.path().string()).arrays;
  EXPECT_TRUE(arrays.contains("mlp.experts.down_proj.scales"));
  EXPECT_TRUE(arrays.contains("mlp.experts.down_proj"));
  EXPECT_TRUE(arrays.contains("attn.q_proj.bias"));
  const CheckpointPtr opened = open_checkpoint(folder.path().string());
  for (const NamedTensor& tensor : tensors)
    EXPECT_EQ(decode_all(opened->at(tensor.name)), tensor.encoded.decoded);
}

TEST_F(AssayDirectory, ManifestGivenByTheCallerIsCompleted) {
  test::TemporaryFolder folder;
  const auto writer = make_writer(Container::assay, folder.path(), test::writer_input(tensors_));
  test::write_planes(*writer, tensors_);
  writer->add_file(
      kManifestFile,
      R"({"source":{"path":"x"},"tensors":{"a.weight":{"format":"khq4","error":0.1}},"measurements":[]})");
  writer->finish();
  const Json manifest = read_json_file(folder.file(kManifestFile));
  EXPECT_EQ(manifest["source"]["path"], "x");
  EXPECT_EQ(manifest["tensors"]["a.weight"]["error"], 0.1);
  EXPECT_EQ(manifest["tensors"]["a.weight"]["shape"], Json({4, 64}));
  EXPECT_EQ(manifest["tensors"].size(), 3u);
  EXPECT_EQ(manifest["files"][0]["sha256"],
            sha256_hex(MappedFile::open(folder.file(kSafetensorsFile))->bytes()));
  EXPECT_NO_THROW(verify_files(*open_checkpoint(folder.path().string())));
}

TEST_F(AssayDirectory, ManifestThatContradictsTheWriterIsRefused) {
  const auto finish_with = [&](const char* manifest) {
    test::TemporaryFolder folder;
    const auto writer = make_writer(Container::assay, folder.path(), test::writer_input(tensors_));
    test::write_planes(*writer, tensors_);
    writer->add_file(kManifestFile, manifest);
    writer->finish();
  };
  EXPECT_ERROR(finish_with(R"({"tensors":{"a.weight":{"format":"khw3"}}})"),
               "assay.json: tensor a.weight: format is \"khw3\", \"khq4\" was written");
  EXPECT_ERROR(finish_with(R"({"tensors":{"a.weight":{"shape":[4,65]}}})"),
               "tensor a.weight: shape is [4,65]");
  EXPECT_ERROR(finish_with(R"({"tensors":{"z.weight":{}}})"), "4 tensors, 3 were written");
  EXPECT_ERROR(finish_with(R"({"container":"mlx"})"), "container is \"mlx\"");
  EXPECT_ERROR(finish_with("[]"), "assay.json: array, a JSON object expected");
  EXPECT_ERROR(finish_with(R"({"tensors":[]})"), "\"tensors\" is array, an object expected");
  EXPECT_ERROR(finish_with(R"({"tensors":{"a.weight":3}})"),
               "tensor a.weight: number, a JSON object expected");
}

TEST(ManifestOfOtherContainers, IsACrossCheck) {
  test::TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = {
      {"a.weight", encode_tensor(find_format("mlx4-g32-f16"), {4, 64}, 1)},
      {"n.weight", encode_tensor(find_format("bf16"), {4}, 1)}};
  test::write_model(Container::mlx, folder.path(), tensors);
  const WriterInput input = test::writer_input(tensors);
  const Json good =
      complete_manifest(Json::object(), Container::mlx, input.tensors, {folder.file(kSafetensorsFile)});
  const auto open = [&](const Json& manifest) {
    test::write_bytes(folder.file(kManifestFile), manifest.dump());
    return open_checkpoint(folder.path().string());
  };
  const CheckpointPtr opened = open(good);
  EXPECT_EQ(opened->container, Container::mlx);
  EXPECT_TRUE(opened->manifest.has_value());
  EXPECT_NO_THROW(verify_files(*opened));
  Json bad = good;
  bad["tensors"]["a.weight"]["format"] = "mlx4-g64-f16";
  EXPECT_ERROR(open(bad), "tensor a.weight: format mlx4-g32-f16, assay.json says mlx4-g64-f16");
  bad = good;
  bad["tensors"]["a.weight"]["shape"] = {64, 4};
  EXPECT_ERROR(open(bad), "tensor a.weight: shape [4, 64], assay.json says [64, 4]");
  bad = good;
  bad["tensors"].erase("n.weight");
  EXPECT_ERROR(open(bad), "tensor n.weight: assay.json does not mention it");
  bad = good;
  bad["tensors"]["z.weight"] = {{"format", "bf16"}, {"shape", {4}}};
  EXPECT_ERROR(open(bad), "assay.json: tensor z.weight: not in the directory");
  bad = good;
  bad["files"][0]["bytes"] = 1;
  EXPECT_ERROR(open(bad), "bytes, assay.json says 1");
}

TEST(ManifestOfOtherContainers, MayNameTheRuleBehindAFormat) {
  Checkpoint checkpoint;
  Tensor tensor;
  tensor.name = "a.weight";
  tensor.shape = {4, 64};
  tensor.format = find_format("khq4");
  checkpoint.tensors = {tensor};
  const Json manifest = Json::parse(R"({"tensors":{"a.weight":{"format":"khq4-sym","shape":[4,64]}}})");
  match_manifest(manifest, checkpoint);
  EXPECT_EQ(checkpoint.tensors[0].format->name(), "khq4-sym");
  checkpoint.tensors[0].format = find_format("khq4");
  const Json other_bytes = Json::parse(R"({"tensors":{"a.weight":{"format":"khq4-v1","shape":[4,64]}}})");
  EXPECT_ERROR(match_manifest(other_bytes, checkpoint), "format khq4, assay.json says khq4-v1");
  checkpoint.tensors[0].format = nullptr;
  EXPECT_ERROR(match_manifest(manifest, checkpoint), "format none, assay.json says khq4-sym");
}

}  // namespace
}  // namespace assay
