#pragma once
// The one table of containers: how a model lies on disk. Adding a container is one file, which defines its
// row, and that row's line in containers.cpp; readers, writers, recipes, converters, `assay formats` and
// every list of names in a message go through the table and never ask for a name.
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "assay/storage/model_path.h"
#include "assay/storage/writer.h"

namespace assay {

struct ContainerRow {
  std::string_view name;  // in manifests, and as typed behind --container
  /// Is this path one? Asked in the order of the table, so a row may count on those above it having said no.
  bool (*detect)(ModelPath& path);
  CheckpointPtr (*open)(ModelPath& path, const OpenOptions& options);
  /// Why it cannot hold a tensor that is sound in itself; nothing when it can.
  std::optional<std::string> (*misfit)(const PlannedTensor& tensor);
  /// Creates the writer in an existing empty directory. Throws Error.
  std::unique_ptr<CheckpointWriter> (*write)(const std::filesystem::path& directory, WriterInput input);

  bool offered = false;       // may users choose it for what `quantize` and `convert` write?
  bool has_manifest = false;  // may its folder bear assay.json?
  /// Is assay.json part of the container (its writer completes it, and no architecture is needed to read it
  /// back), or a cross-check that others lay beside it?
  bool owns_manifest = false;
  bool mlx_conventions = false;  // names and shapes are mlx-lm's: experts stacked, norms with their one
  bool spelled_config =
      false;  // is written of a config that leaves nothing out (model/config.h, config_json)
  std::string_view float_format = {};   // the only one for what is not quantised; "": as the source has it
  std::string_view vector_format = {};  // the only one for vectors; "": as for all else
  /// The one file that holds the whole model: an OUT with its extension is this file, without a folder and so
  /// without a manifest. "": a model is always a folder.
  std::string_view lone_file = {};
};

/// Every row, in the order of detection.
std::span<const ContainerRow* const> all_containers();

/// "assay, mlx or lattice": the rows that `wanted` accepts, for messages.
std::string container_names(bool (*wanted)(const ContainerRow&));
/// The writable container that users mean by this name, or nothing.
std::optional<Container> find_offered_container(std::string_view name);

}  // namespace assay
