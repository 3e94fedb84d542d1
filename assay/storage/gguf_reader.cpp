#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/storage/gguf.h"
#include "assay/storage/gguf_config.h"
#include "assay/storage/gguf_file.h"
#include "assay/storage/gguf_metadata.h"
#include "assay/storage/gguf_names.h"
#include "assay/storage/gguf_tokenizer.h"
#include "assay/storage/model_file.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

void check_expected_shapes(const Checkpoint& checkpoint, const OpenOptions& options) {
  const auto expected = options.architecture ? options.architecture(checkpoint.config) : std::nullopt;
  if (!expected) return;
  for (const ExpectedTensor& wanted : *expected)
    if (const Tensor* tensor = checkpoint.find(wanted.name);
        tensor != nullptr && tensor->shape != wanted.shape)
      fail("{}: tensor {}: shape is {}, the architecture says {}", checkpoint.path, wanted.name,
           shape_text(tensor->shape), shape_text(wanted.shape));
}

void add_tensors(Checkpoint& checkpoint, const GgufFile& file, const GgufArchitecture& architecture,
                 const std::shared_ptr<const void>& owner) {
  const auto layers = checkpoint.config.at("num_hidden_layers").get<std::uint64_t>();
  for (const GgufTensor& stored : file.tensors) {
    if (stored.name == kGgufRopeFactors) continue;  // part of the config
    const auto name = huggingface_name(stored.name, layers);
    if (!name)
      fail("{}: tensor {}: no tensor of a {} model of {} layers", file.path, stored.name, architecture.name,
           layers);
    Tensor tensor;
    tensor.name = *name;
    tensor.shape = stored.shape;
    tensor.format = stored.format;
    tensor.dtype = stored.format->layout(stored.shape.back()).planes.front().dtype;
    tensor.planes = {stored.data};
    tensor.file = file.path;
    tensor.owners = {owner};
    tensor.stored.heads = gguf_interleaved_heads(architecture, tensor.name, tensor.shape, checkpoint.config,
                                                 file.path + ": tensor " + tensor.name);
    checkpoint.tensors.push_back(std::move(tensor));
  }
  std::sort(checkpoint.tensors.begin(), checkpoint.tensors.end(),
            [](const Tensor& a, const Tensor& b) { return a.name < b.name; });
}

std::vector<std::string> gguf_files(ModelPath& path) {
  std::vector<std::string> names;
  for (const std::string& name : path.entries())
    if (fs::path(name).extension() == ".gguf") names.push_back(name);
  return names;
}

/// What is no directory is opened as GGUF: its reader says best what is wrong.
bool is_gguf(ModelPath& path) {
  return !path.is_directory() || !gguf_files(path).empty();
}

CheckpointPtr open_gguf_path(ModelPath& path, const OpenOptions& options) {
  const std::string& directory = path.path();
  if (!path.is_directory()) return open_gguf(directory, options);
  const std::vector<std::string> names = gguf_files(path);
  if (names.size() > 1)
    fail("{}: {} GGUF files ({}, {}, ...); name one of them", directory, names.size(),
         (fs::path(directory) / names[0]).string(), (fs::path(directory) / names[1]).string());
  auto opened = std::make_shared<Checkpoint>(*open_gguf(model_file(directory, names[0]), options));
  opened->path = directory;  // where its manifest would be
  return opened;
}

}  // namespace

constinit const ContainerRow kGgufContainer = {.name = "gguf",
                                               .detect = is_gguf,
                                               .open = open_gguf_path,
                                               .misfit = gguf_misfit,
                                               .write = make_gguf_writer,
                                               .offered = true,
                                               .has_manifest = true,
                                               .mlx_conventions = true,
                                               .spelled_config = true,
                                               .vector_format = "f32",
                                               .lone_file = kGgufFile};

CheckpointPtr read_gguf(Bytes bytes, const std::string& path, const std::shared_ptr<const void>& owner,
                        const OpenOptions& options) {
  const GgufFile file = parse_gguf_file(bytes, path);
  GgufMetadata metadata(file);
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = path;
  checkpoint->container = Container::gguf;
  checkpoint->config = gguf_config(file, metadata);
  checkpoint->sidecars =
      gguf_tokenizer_files(metadata, checkpoint->config.at("vocab_size").get<std::uint64_t>());
  // The ids that config.json repeats are those of the tokenizer.
  const Json generation = parse_json(checkpoint->sidecars.at("generation_config.json"), path);
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"})
    if (generation.contains(key)) checkpoint->config[key] = generation.at(key);
  checkpoint->sidecars["config.json"] = checkpoint->config.dump(2) + "\n";
  const GgufArchitecture& architecture = gguf_architecture(metadata);
  for (const std::string& key : metadata.check_all_understood(std::string(architecture.name)))
    checkpoint->warnings.push_back(fmt::format("{}: key {} is not known and was ignored", path, key));
  checkpoint->files = {path};
  add_tensors(*checkpoint, file, architecture, owner);
  check_expected_shapes(*checkpoint, options);
  return checkpoint;
}

CheckpointPtr open_gguf(const std::string& path, const OpenOptions& options) {
  const auto file = MappedFile::open(path);
  return read_gguf(file->bytes(), path, file, options);
}

}  // namespace assay
