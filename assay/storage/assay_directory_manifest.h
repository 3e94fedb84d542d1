#pragma once
// Reading assay.json: its schema, its tensors and its list of files. Shared by the sources of
// assay_directory.h.
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/checkpoint.h"

namespace assay {

struct ManifestTensor {
  std::string name;
  FormatPtr format;
  Shape shape;
  std::optional<std::uint64_t> checksum;       // "xxh3"
  std::vector<std::uint64_t> slice_checksums;  // "xxh3_slices"
};

/// Parses the file; schema and the types of the top-level entries are checked. Throws Error.
Json read_manifest(const std::string& path);

/// The container the manifest was written for. Throws Error for a name that is none.
std::string manifest_container(const Json& manifest, const std::string& directory);

/// Its tensors, by name; formats exist in the table. Throws Error.
std::vector<ManifestTensor> manifest_tensors(const Json& manifest, const std::string& directory);

/// Compares the tensors of another container's checkpoint with its manifest: names, shapes, formats. A
/// manifest may name the rule by which a format's codes were made (khq4-sym where the file only shows khq4);
/// it is then adopted.
void match_manifest(const Json& manifest, Checkpoint& checkpoint);

/// Compares names and sizes of the weight files with the manifest's "files", when it has them. Throws Error.
void check_file_sizes(const Checkpoint& checkpoint);

}  // namespace assay
