// Writers: round trips of every format through every container that holds it, shards, threads, and failures.
#include "assay/storage/writer.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <thread>

#include "assay/base/error.h"
#include "assay/formats/mlx_float.h"
#include "assay/formats/table.h"
#include "assay/storage/mlx.h"
#include "assay/storage/safetensors.h"
#include "tests/storage/written_model.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::as_plane;
using test::encode_tensor;
using test::EncodedTensor;
using test::NamedTensor;

/// Arbitrary plane bytes: what containers must carry unchanged, whatever they mean.
EncodedTensor random_planes(const FormatPtr& format, const Shape& shape, unsigned seed) {
  const MatrixShape matrix = as_matrix(shape);
  const Layout layout = format->layout(matrix.columns);
  std::mt19937 random(seed);
  EncodedTensor encoded{.shape = shape, .format = format, .planes = {}, .decoded = {}};
  for (const Plane& plane : layout.planes) {
    std::string bytes(record_count(layout, plane, matrix.rows, matrix.columns) * plane.record_bytes, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    encoded.planes.push_back(std::move(bytes));
  }
  return encoded;
}

void expect_same_planes(const Tensor& tensor, const EncodedTensor& encoded) {
  ASSERT_EQ(tensor.planes.size(), encoded.planes.size());
  for (std::size_t i = 0; i < tensor.planes.size(); ++i) {
    const Bytes expected = as_plane(encoded.planes[i]);
    EXPECT_TRUE(
        std::equal(tensor.planes[i].begin(), tensor.planes[i].end(), expected.begin(), expected.end()))
        << "plane " << i;
  }
}

class RoundTrip : public ::testing::TestWithParam<Container> {};

TEST_P(RoundTrip, EveryFormatAndShapeThatFits) {
  const std::vector<Shape> shapes = {{8, 128}, {3, 33}, {33, 33}, {2, 3, 128}, {5, 96},  {128},
                                     {7},      {},      {1, 1},   {0, 128},    {3, 512}, {2, 2, 256}};
  std::vector<NamedTensor> tensors;
  for (const FormatPtr& format : all_formats())
    for (const Shape& shape : shapes) {
      const PlannedTensor planned{fmt::format("t{}.weight", tensors.size()), shape, format};
      if (container_misfit(GetParam(), planned)) continue;
      const auto seed = static_cast<unsigned>(tensors.size());
      tensors.push_back({planned.name, format->can_encode() ? encode_tensor(format, shape, seed)
                                                            : random_planes(format, shape, seed)});
    }
  ASSERT_GT(tensors.size(), 20u);
  test::TemporaryFolder folder;
  test::write_model(GetParam(), folder.path(), tensors);
  const CheckpointPtr opened = open_checkpoint(folder.path().string());
  EXPECT_EQ(opened->container, GetParam());
  EXPECT_EQ(opened->tensors.size(), tensors.size());
  for (const NamedTensor& written : tensors) {
    SCOPED_TRACE(written.name + " " + written.encoded.format->name() + " " +
                 shape_text(written.encoded.shape));
    const Tensor& tensor = opened->at(written.name);
    EXPECT_EQ(tensor.shape, written.encoded.shape);
    expect_same_planes(tensor, written.encoded);
    if (GetParam() == Container::assay) {
      EXPECT_EQ(tensor.format, written.encoded.format);
    }
    if (written.encoded.format->can_encode()) {
      EXPECT_EQ(decode_all(tensor), written.encoded.decoded);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Containers, RoundTrip,
                         ::testing::Values(Container::huggingface, Container::assay, Container::mlx),
                         [](const auto& param) { return std::string(container_name(param.param)); });

std::vector<NamedTensor> some_tensors() {
  return {{"a.weight", encode_tensor(find_format("mlx4-g64-bf16"), {16, 128}, 1)},
          {"b.weight", encode_tensor(find_format("bf16"), {16, 64}, 2)},
          {"c.weight", encode_tensor(find_format("mlx8-g32-bf16"), {16, 128}, 3)},
          {"d.weight", encode_tensor(find_format("mlx4-g64-bf16"), {16, 128}, 4)},
          {"norm.weight", encode_tensor(find_format("f32"), {3}, 5)}};
}

TEST(Writer, HeaderIsAlignedAndPlanesNaturallySo) {
  test::TemporaryFolder folder;
  test::write_model(Container::assay, folder.path(), some_tensors());
  const std::string file = test::read_bytes(folder.file(kSafetensorsFile));
  const auto entries = parse_safetensors_header(as_plane(file), "m");
  EXPECT_EQ(entries[0].begin % 64, 0u);
  for (const SafetensorsEntry& entry : entries)
    EXPECT_EQ(entry.begin % dtype_size(entry.dtype), 0u) << entry.name;
  EXPECT_THAT(file, testing::HasSubstr(R"("__metadata__":{"format":"mlx"})"));
  test::TemporaryFolder plain;
  test::write_model(Container::huggingface, plain.path(), {some_tensors()[1]});
  EXPECT_THAT(test::read_bytes(plain.file(kSafetensorsFile)),
              testing::HasSubstr(R"("__metadata__":{"format":"pt"})"));
  EXPECT_FALSE(std::filesystem::exists(plain.file(kSafetensorsIndex)));
}

TEST(Writer, ShardsBySizeWithAnIndex) {
  const std::vector<NamedTensor> tensors = some_tensors();
  WriterInput input = test::writer_input(tensors);
  input.max_shard_bytes = 2500;
  test::TemporaryFolder folder;
  const auto writer = make_writer(Container::assay, folder.path(), input);
  test::write_planes(*writer, tensors);
  writer->finish();
  const CheckpointPtr opened = open_checkpoint(folder.path().string());
  EXPECT_EQ(opened->files.size(), 4u);  // 1152, 2048, 2304 and 1152 + 12 bytes
  for (const NamedTensor& tensor : tensors)
    EXPECT_EQ(decode_all(opened->at(tensor.name)), tensor.encoded.decoded);
  const Json index = read_json_file(folder.file(kSafetensorsIndex));
  EXPECT_EQ(index["metadata"]["total_size"], 1152 + 2048 + 2304 + 1152 + 12);
  EXPECT_EQ(index["weight_map"]["norm.weight"], "model-00004-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["a.scales"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(opened->manifest->at("files").size(), 4u);
}

TEST(Writer, ManyThreadsInAnyOrder) {
  const std::vector<NamedTensor> tensors = some_tensors();
  WriterInput input = test::writer_input(tensors);
  input.max_shard_bytes = 3000;
  test::TemporaryFolder folder;
  const auto writer = make_writer(Container::assay, folder.path(), input);
  constexpr std::size_t kThreads = 4, kPiece = 7;
  std::vector<std::thread> threads;
  for (std::size_t thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&, thread] {
      for (std::size_t i = 0; i < tensors.size(); ++i)
        for (std::size_t plane = 0; plane < tensors[i].encoded.planes.size(); ++plane) {
          const Bytes bytes = as_plane(tensors[i].encoded.planes[plane]);
          const std::size_t pieces = (bytes.size() + kPiece - 1) / kPiece;
          for (std::size_t piece = pieces; piece-- > 0;)  // from the end, every fourth piece
            if (piece % kThreads == thread)
              writer->write(i, plane, piece * kPiece,
                            bytes.subspan(piece * kPiece, std::min(kPiece, bytes.size() - piece * kPiece)));
        }
    });
  for (std::thread& thread : threads) thread.join();
  writer->finish();
  const CheckpointPtr opened = open_checkpoint(folder.path().string());
  for (const NamedTensor& tensor : tensors) expect_same_planes(opened->at(tensor.name), tensor.encoded);
}

TEST(Writer, FinishRefusesIncompletePlanes) {
  const std::vector<NamedTensor> tensors = some_tensors();
  const auto finish_without = [&](std::size_t begin, std::size_t end, bool twice) {
    test::TemporaryFolder folder;
    const auto writer = make_writer(Container::mlx, folder.path(), test::writer_input(tensors));
    for (std::size_t i = 0; i < tensors.size(); ++i)
      for (std::size_t plane = 0; plane < tensors[i].encoded.planes.size(); ++plane) {
        const Bytes bytes = as_plane(tensors[i].encoded.planes[plane]);
        if (i != 2 || plane != 1) {
          writer->write(i, plane, 0, bytes);
          continue;
        }
        writer->write(i, plane, 0, bytes.first(begin));
        if (twice) writer->write(i, plane, 0, bytes.first(begin));
        writer->write(i, plane, end, bytes.subspan(end));
      }
    writer->finish();
  };
  EXPECT_NO_THROW(finish_without(10, 10, false));
  EXPECT_NO_THROW(finish_without(20, 10, false));  // overlap is no gap
  EXPECT_ERROR(finish_without(10, 11, false), "tensor c.weight: plane c.scales has 127 of 128 bytes");
  EXPECT_ERROR(finish_without(0, 1, false), "plane c.scales has 127 of 128 bytes");
  EXPECT_ERROR(finish_without(127, 128, false), "plane c.scales has 127 of 128 bytes");
  EXPECT_ERROR(finish_without(0, 128, false), "plane c.scales has 0 of 128 bytes");
  // Bytes written twice do not stand for those never written.
  EXPECT_ERROR(finish_without(64, 128, true), "plane c.scales has 64 of 128 bytes");
}

TEST(Writer, MlxConfigSaysWhatWasWritten) {
  test::TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = some_tensors();
  WriterInput input = test::writer_input(tensors);
  input.config["quantization_config"] = {{"quant_method", "stale"}};
  input.config["text_config"] = {{"quantization", {{"bits", 3}}}, {"kept", 1}};
  const auto writer = make_writer(Container::mlx, folder.path(), input);
  test::write_planes(*writer, tensors);
  writer->finish();
  const Json config = read_json_file(folder.file("config.json"));
  EXPECT_EQ(config["quantization"], Json::parse(R"({"group_size":64,"bits":4,"mode":"affine",
                                                    "c":{"group_size":32,"bits":8}})"));
  EXPECT_EQ(config["quantization"], config["quantization_config"]);
  EXPECT_EQ(config["text_config"], Json::parse(R"({"kept":1})"));
  EXPECT_EQ(config["model_type"], "none");
  const Json index = read_json_file(folder.file(kSafetensorsIndex));
  EXPECT_EQ(index["weight_map"]["c.biases"], kSafetensorsFile);
  EXPECT_EQ(index["metadata"]["total_parameters"], 3 * 2048 + 1024 + 3);
  EXPECT_EQ(open_checkpoint(folder.path().string())->at("c.weight").format->name(), "mlx8-g32-bf16");
}

TEST(Writer, PureMlxAssayDirectoriesAreMlxDirectoriesToo) {
  test::TemporaryFolder folder;
  const std::vector<NamedTensor> tensors = some_tensors();
  test::write_model(Container::assay, folder.path(), tensors);
  EXPECT_EQ(open_checkpoint(folder.path().string())->container, Container::assay);
  std::filesystem::remove(folder.file("assay.json"));
  const CheckpointPtr opened = open_checkpoint(folder.path().string());
  EXPECT_EQ(opened->container, Container::mlx);
  for (const NamedTensor& tensor : tensors) EXPECT_EQ(opened->at(tensor.name).format, tensor.encoded.format);
}

TEST(Writer, MixedAssayDirectoriesDoNotPoseAsMlx) {
  test::TemporaryFolder folder;
  auto tensors = some_tensors();
  tensors.push_back({"e.weight", encode_tensor(find_format("khq4"), {4, 64}, 9)});
  test::write_model(Container::assay, folder.path(), tensors);
  EXPECT_FALSE(read_json_file(folder.file("config.json")).contains("quantization"));
}

TEST(Writer, RefusesMisfitsBeforeWriting) {
  const auto misfit = [](Container container, const std::string& name, const Shape& shape,
                         const char* format) {
    return container_misfit(container, {name, shape, find_format(format)}).value_or("fits");
  };
  using testing::HasSubstr;
  EXPECT_EQ(misfit(Container::mlx, "a.weight", {4, 64}, "mlx4-g64-f16"), "fits");
  EXPECT_THAT(misfit(Container::mlx, "a.weight", {4, 64}, "khq4"), HasSubstr("MLX has no khq4"));
  EXPECT_THAT(misfit(Container::mlx, "a.weight", {64}, "mlx4-g64-f16"),
              HasSubstr("matrices only, this is [64]"));
  EXPECT_THAT(misfit(Container::mlx, "gate_up_proj", {4, 64}, "mlx4-g64-f16"),
              HasSubstr("must end in .weight"));
  EXPECT_THAT(misfit(Container::huggingface, "a.weight", {4, 64}, "gf16"),
              HasSubstr("holds f32, f16 and bf16, not gf16"));
  EXPECT_THAT(misfit(Container::gguf, "a.weight", {4, 64}, "q8_0"), HasSubstr("GGUF has no name for it"));
  EXPECT_THAT(misfit(Container::assay, "", {4, 64}, "q8_0"), HasSubstr("not a tensor name"));
  EXPECT_THAT(misfit(Container::assay, "__metadata__", {4, 64}, "q8_0"), HasSubstr("not a tensor name"));
  EXPECT_THAT(misfit(Container::assay, "a", {4, 33}, "q8_0"), HasSubstr("33"));
  EXPECT_THAT(misfit(Container::assay, "a", {1ull << 33, 1ull << 33}, "q8_0"), HasSubstr("overflows"));
  EXPECT_THAT(container_misfit(Container::assay, {"a", {1}, nullptr}).value(), HasSubstr("no weight format"));
  EXPECT_THAT(
      container_misfit(Container::assay, {"a.weight", {4, 64}, nvfp4_with_global_scale(2.0f)}).value(),
      HasSubstr("parameters of its own that no container keeps"));

  test::TemporaryFolder folder;
  auto tensors = some_tensors();
  tensors.push_back({"e.weight", encode_tensor(find_format("khq4"), {4, 64}, 9)});
  EXPECT_ERROR(make_writer(Container::mlx, folder.path(), test::writer_input(tensors)),
               "tensor e.weight: MLX has no khq4");
  EXPECT_ERROR(make_writer(Container::gguf, folder.path(), {}), "model.embed_tokens.weight is missing");
  tensors = some_tensors();
  tensors.push_back({"a.scales", encode_tensor(find_format("f32"), {4}, 9)});
  EXPECT_ERROR(make_writer(Container::assay, folder.path(), test::writer_input(tensors)),
               "tensor a.scales: its plane a.scales is already another tensor's");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Writer, TakesTheUsersSidecarsAndFiles) {
  test::TemporaryFolder folder;
  const auto tensors = some_tensors();
  const auto writer = make_writer(Container::huggingface, folder.path(), test::writer_input({tensors[1]}));
  writer->write(0, 0, 0, as_plane(tensors[1].encoded.planes[0]));
  writer->add_file("notes.txt", "one");
  writer->add_file("notes.txt", "two");
  writer->finish();
  EXPECT_EQ(test::read_bytes(folder.file("notes.txt")), "two");
  EXPECT_EQ(test::read_bytes(folder.file("tokenizer.json")), "{}");
}

/// Files cannot grow beyond a limit while this lives: the nearest a test comes to a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(Writer, AFullDiskIsAnError) {
  const std::vector<NamedTensor> tensors = {{"a.weight", encode_tensor(find_format("f32"), {64, 64}, 1)}};
  test::TemporaryFolder folder;
  const FileSizeLimit limit(8192);
  const auto writer = make_writer(Container::huggingface, folder.path(), test::writer_input(tensors));
  EXPECT_ERROR(test::write_planes(*writer, tensors), "model.safetensors: cannot write at byte 8192");
  EXPECT_ERROR(writer->add_file("big.txt", std::string(9000, 'x')), "big.txt");
  EXPECT_FALSE(std::filesystem::exists(folder.file("big.txt")));
}

TEST(Writer, RefusesAnOccupiedDirectory) {
  test::TemporaryFolder folder;
  const auto tensors = some_tensors();
  test::write_model(Container::mlx, folder.path(), tensors);
  EXPECT_ERROR(make_writer(Container::mlx, folder.path(), test::writer_input(tensors)),
               "model.safetensors: cannot create");
}

}  // namespace
}  // namespace assay
