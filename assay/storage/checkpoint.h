#pragma once
// A model on disk, whatever its container: configuration, tokenizer files and tensors (mapped, lazy).
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "assay/base/file.h"
#include "assay/base/json.h"
#include "assay/storage/tensor.h"

namespace assay {

struct ContainerRow;

/// Which container: a row of the table in containers.h, by identity. Named here are those that code or tests
/// call by name.
class Container {
 public:
  static const Container assay, mlx, lattice, huggingface, gguf;

  constexpr explicit Container(const ContainerRow& row) : row_(&row) {}
  const ContainerRow* operator->() const { return row_; }
  bool operator==(const Container&) const = default;

 private:
  const ContainerRow* row_;
};
std::string_view container_name(Container container);

/// The small files that make a model self-contained, by file name: config.json, generation_config.json,
/// tokenizer.json, tokenizer_config.json, chat_template.jinja, tokenizer.model, vocab.json, merges.txt.
/// A GGUF file's metadata is presented in the same form.
using Sidecars = std::map<std::string, std::string>;

/// One tensor that the architecture says must exist.
struct ExpectedTensor {
  std::string name;
  Shape shape;
};
/// What model/ knows and storage/ needs: the tensors of an architecture, from its config; nothing when
/// unknown. MLX widths and lattice file names are decided with it.
using ArchitectureHint = std::function<std::optional<std::vector<ExpectedTensor>>(const Json& config)>;

struct OpenOptions {
  ArchitectureHint architecture;  // may be empty
  std::string config_directory;   // config and tokenizer for lattice directories that lack them ("" = none)
};

/// A file that a checkpoint was read from, and its state before it was.
struct SourceFile {
  std::string path;
  FileIdentity identity;
};

struct Checkpoint {
  std::string path;
  Container container = Container::huggingface;
  Json config = Json::object();  // Hugging Face spelling, also for GGUF
  std::optional<Json> manifest;  // assay.json, where there is one
  Sidecars sidecars;
  std::vector<std::string> files;     // the weight files, paths; what a manifest hashes
  std::vector<SourceFile> sources;    // those, the sidecars and the index
  std::vector<Tensor> tensors;        // sorted by name
  std::vector<std::string> warnings;  // facts a user should see once: 4-bit routers, shards left out

  const Tensor* find(std::string_view name) const;  // null when absent
  const Tensor& at(std::string_view name) const;    // throws Error naming path and tensor
};
using CheckpointPtr = std::shared_ptr<const Checkpoint>;

/// Opens a folder of any container, or a GGUF file, applying every guard of the readers. Throws Error.
CheckpointPtr open_checkpoint(const std::string& path, const OpenOptions& options = {});

/// Throws Error when a file of the checkpoint is not what it was when it was opened: written to, cut,
/// replaced or removed. Asked before anything is kept that was made of it.
void require_unchanged(const Checkpoint& checkpoint);

}  // namespace assay
