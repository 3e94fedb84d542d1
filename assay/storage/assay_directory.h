#pragma once
// Assay's own directory: config, tokenizer, safetensors shards holding packed tensors, and assay.json, the
// manifest, which names format and logical shape of every tensor and is checked against what the planes say.
//
//   {"assay": VERSION, "schema": 1, "container": "assay", "source": {...}, "recipe": {...},
//    "tensors": {NAME: {"format": "khq4", "shape": [N, K], ...}}, "files": [{"name", "bytes", "sha256"}],
//    "measurements": [...]}
//
// Other containers may carry the same manifest ("container": "lattice", "mlx"): it is then only a
// cross-check.
#include <memory>
#include <string>

#include "assay/storage/containers.h"
#include "assay/storage/safetensors.h"

namespace assay {

constexpr const char* kManifestFile = "assay.json";
constexpr int kManifestSchema = 1;
constexpr const char* kChecksumKey = "xxh3";  // of a tensor, where it has one: see Tensor::checksum
constexpr const char* kSliceChecksumsKey = "xxh3_slices";  // likewise: Tensor::slice_checksums

extern const ContainerRow kAssayContainer;

/// The checkpoint of a directory that bears this manifest, as its container's reader opened it: for other
/// containers than Assay's own the two are compared. Throws Error.
CheckpointPtr with_manifest(const CheckpointPtr& opened, const Json& manifest);

/// Builds the checkpoint's tensors from the manifest and the arrays of the shards: every plane must exist
/// with exactly the dtype and shape that the format says, and nothing may be left over. Throws Error.
std::vector<Tensor> assemble_assay_tensors(const Json& manifest, const StoredArrays& arrays,
                                           const std::string& directory);

/// Recomputes the SHA-256 of every weight file and compares it with the manifest. Throws Error naming the
/// first file that differs, or when there is no manifest with hashes.
void verify_files(const Checkpoint& checkpoint);

/// Fills in what the writer knows: "assay", "schema", "container", format and shape of every tensor, and
/// name, size and SHA-256 of every weight file. Entries that others added are kept. Throws Error where they
/// contradict.
Json complete_manifest(Json manifest, Container container, const std::vector<PlannedTensor>& tensors,
                       const std::vector<std::string>& files);

/// Writes such a directory; assay.json may be given by add_file() and is completed by finish(). Where every
/// tensor is plain or MLX affine the result is a plain MLX checkpoint at the same time.
std::unique_ptr<CheckpointWriter> make_assay_writer(const std::filesystem::path& directory,
                                                    WriterInput input);

}  // namespace assay
