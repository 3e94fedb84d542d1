// Opening directories: sidecars, configuration, and which container wins where several lie together.
#include "assay/storage/checkpoint.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/storage/sidecars.h"
#include "tests/storage/safetensors_builder.h"
#include "tests/storage/written_model.h"

namespace assay {
namespace {

TEST(OpenCheckpoint, TheBundledModel) {
  const CheckpointPtr model = open_checkpoint(test::demo_model());
  EXPECT_EQ(model->container, Container::huggingface);
  EXPECT_EQ(model->config.at("model_type"), "qwen3");
  EXPECT_TRUE(model->sidecars.contains("tokenizer.json"));
  EXPECT_FALSE(model->manifest.has_value());
  EXPECT_TRUE(std::is_sorted(model->tensors.begin(), model->tensors.end(),
                             [](const Tensor& a, const Tensor& b) { return a.name < b.name; }));
  const Tensor& embedding = model->at("model.embed_tokens.weight");
  EXPECT_EQ(embedding.shape, (Shape{8192, 256}));
  EXPECT_EQ(embedding.stored_bytes(), 2u * 8192 * 256);
  EXPECT_EQ(embedding.elements(), 8192u * 256);
  EXPECT_EQ(decode_all(model->at("model.norm.weight")).size(), 256u);
}

TEST(OpenCheckpoint, EverySharedModel) {
  ASSAY_NEEDS_SHARED("models");
  for (const char* name : {"tiny", "small", "llama", "moe", "next", "q35"}) {
    const CheckpointPtr model = open_checkpoint(test::shared(std::string("models/") + name));
    EXPECT_EQ(model->container, Container::huggingface) << name;
    for (const Tensor& tensor : model->tensors) EXPECT_EQ(decode_all(tensor).size(), tensor.elements());
  }
}

TEST(OpenCheckpoint, PathsThatAreNoModel) {
  test::TemporaryFolder folder;
  EXPECT_ERROR(open_checkpoint(folder.file("absent")), "absent: no such file or directory");
  EXPECT_ERROR(open_checkpoint(folder.path().string()),
               "no model here: looked for assay.json, model.safetensors", "*.w3", "*.q4", "*.gguf");
  EXPECT_ERROR(open_checkpoint(test::demo_model() + "/model.safetensors"), "give the directory");
  EXPECT_ERROR(open_checkpoint(test::demo_model() + "/config.json"), "config.json");
}

TEST(OpenCheckpoint, NeedsItsConfiguration) {
  test::TemporaryFolder folder;
  test::write_bytes(folder.file("model.safetensors"), test::build_safetensors({{"x", DType::F32, {2}, ""}}));
  EXPECT_ERROR(open_checkpoint(folder.path().string()), "config.json: missing");
  test::write_bytes(folder.file("config.json"), "[1]");
  EXPECT_ERROR(open_checkpoint(folder.path().string()), "config.json: holds array, a JSON object expected");
  test::write_bytes(folder.file("config.json"), "{");
  EXPECT_ERROR(open_checkpoint(folder.path().string()), "config.json: not valid JSON");
  test::write_bytes(folder.file("config.json"), "{}");
  EXPECT_EQ(open_checkpoint(folder.path().string())->tensors.size(), 1u);
}

TEST(OpenCheckpoint, DetectionOrder) {
  test::TemporaryFolder folder;
  const auto open = [&] { return open_checkpoint(folder.path().string()); };
  test::write_bytes(folder.file("merged_qkvz_0_64_64.q4"), "cache");
  test::write_bytes(folder.file("x.q4.tmp"), "unfinished");
  EXPECT_ERROR(open(), "no model here");
  test::write_bytes(folder.file("m.gguf"), "no gguf");
  EXPECT_ERROR(open(), "m.gguf");
  test::write_bytes(folder.file("n.gguf"), "no gguf");
  EXPECT_ERROR(open(), "2 GGUF files", "name one of them");
  test::write_bytes(folder.file("config.json"), R"({"model_type":"none"})");
  test::write_bytes(folder.file("x_weight.q4"), "bad");
  EXPECT_ERROR(open(), folder.path().c_str());  // the lattice reader's own refusal
  test::write_bytes(folder.file("model.safetensors"), test::build_safetensors({{"x", DType::F32, {2}, ""}}));
  EXPECT_EQ(open()->container, Container::huggingface);
  test::write_bytes(folder.file("assay.json"), "{}");
  EXPECT_ERROR(open(), "assay.json: key \"schema\" is missing");
}

/// What lies beside the shards of a model is no part of it, and is named.
TEST(OpenCheckpoint, NamesWeightFilesThatItDoesNotRead) {
  test::TemporaryFolder folder, other;
  const auto put = [&](const std::string& name, const char* tensor) {
    test::write_bytes(folder.file(name), test::build_safetensors({{tensor, DType::F32, {2}, ""}}));
  };
  const auto warnings = [&](const std::string& path) { return open_checkpoint(path)->warnings; };
  test::write_bytes(folder.file("config.json"), R"({"model_type":"none"})");
  put("model.safetensors", "x");
  EXPECT_THAT(warnings(folder.path().string()), testing::IsEmpty());
  put("consolidated.safetensors", "y");
  EXPECT_THAT(warnings(folder.path().string() + "/"),
              testing::ElementsAre(folder.file("consolidated.safetensors") +
                                   ": ignored: without an index only model.safetensors is read"));
  std::filesystem::remove(folder.file("model.safetensors"));
  put("a.safetensors", "x");
  test::write_bytes(folder.file("model.safetensors.index.json"), R"({"weight_map":{"x":"a.safetensors"}})");
  EXPECT_THAT(warnings(folder.path().string()),
              testing::ElementsAre(folder.file("consolidated.safetensors") +
                                   ": ignored: model.safetensors.index.json does not name it"));
  EXPECT_EQ(open_checkpoint(folder.path().string())->tensors.size(), 1u);
  // The folder that only lends its configuration is not looked at.
  test::write_bytes(other.file("stray.safetensors"), "");
  EXPECT_EQ(open_checkpoint(folder.path().string(), {.architecture = {}, .config_directory = other.path()})
                ->warnings.size(),
            1u);
}

TEST(Containers, HaveNames) {
  for (const auto& [container, name] :
       {std::pair(Container::huggingface, "huggingface"), std::pair(Container::assay, "assay"),
        std::pair(Container::mlx, "mlx"), std::pair(Container::lattice, "lattice"),
        std::pair(Container::gguf, "gguf")})
    EXPECT_EQ(container_name(container), name);
}

TEST(SidecarFiles, ReadWhatIsThere) {
  test::TemporaryFolder folder;
  test::write_bytes(folder.file("config.json"), "{}");
  test::write_bytes(folder.file("merges.txt"), "a b\n");
  test::write_bytes(folder.file("README.md"), "no sidecar");
  EXPECT_EQ(read_sidecars(folder.path().string()),
            (Sidecars{{"config.json", "{}"}, {"merges.txt", "a b\n"}}));
  test::TemporaryFolder copy;
  write_sidecars(copy.path().string(), read_sidecars(folder.path().string()));
  EXPECT_EQ(test::read_bytes(copy.file("merges.txt")), "a b\n");
}

TEST(SidecarFiles, AreBoundedRegularFiles) {
  test::TemporaryFolder folder;
  test::write_bytes(folder.file("vocab.json"), "");
  std::filesystem::resize_file(folder.file("vocab.json"), 100'000'001);  // sparse
  EXPECT_ERROR(read_sidecars(folder.path().string()),
               "vocab.json: 100000001 bytes, at most 100000000 expected");
  std::filesystem::remove(folder.file("vocab.json"));
  std::filesystem::create_directory(folder.file("tokenizer.json"));
  EXPECT_ERROR(read_sidecars(folder.path().string()), "tokenizer.json: not a regular file");
  std::filesystem::remove(folder.file("tokenizer.json"));
  std::filesystem::create_symlink("nowhere", folder.file("tokenizer.json"));
  EXPECT_ERROR(read_sidecars(folder.path().string()), "tokenizer.json: cannot open");
}

}  // namespace
}  // namespace assay
