#pragma once
// Writing a checkpoint: the plan (names, shapes, formats) first, then plane bytes in any order, then
// finish().
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assay/storage/checkpoint.h"

namespace assay {

struct PlannedTensor {
  std::string name;
  Shape shape;
  FormatPtr format;
  /// Tensors that follow one another and have the same record lie together in one file, so that they are read
  /// at once (the matrices of an expert). Empty: anywhere. Safetensors containers only.
  std::string record = {};
};

/// What goes beside the tensors. The writer adds what its container demands (MLX's "quantization" in
/// config.json, quantize_index.json, shard index) and copies the rest.
struct WriterInput {
  std::vector<PlannedTensor> tensors;
  Json config;
  Sidecars sidecars;
  std::string source = {};  // what it is written of, for messages about config and sidecars
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;
};

class CheckpointWriter {
 public:
  virtual ~CheckpointWriter() = default;
  /// Bytes of one plane of tensors[tensor] at `offset` bytes from the plane's start. Any order, any thread;
  /// the whole of every plane must have been written before finish().
  virtual void write(std::size_t tensor, std::size_t plane, std::uint64_t offset, Bytes bytes) = 0;
  /// Adds or replaces a small file (assay.json).
  void add_file(const std::string& name, std::string_view content);
  /// Closes and fsyncs; throws if a plane is incomplete.
  virtual void finish() = 0;

 protected:
  explicit CheckpointWriter(std::filesystem::path directory) : directory_(std::move(directory)) {}
  std::filesystem::path directory_;
};

/// Why the container cannot hold this tensor so; nothing when it can. Recipes and converters ask before
/// writing.
std::optional<std::string> container_misfit(Container container, const PlannedTensor& tensor);

/// Creates the writer in an existing empty (staging) directory. Throws Error naming the first tensor that
/// does not fit, colliding lattice file names, and so on, before anything is written.
std::unique_ptr<CheckpointWriter> make_writer(Container container, const std::filesystem::path& directory,
                                              WriterInput input);

}  // namespace assay
