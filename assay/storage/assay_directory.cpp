#include "assay/storage/assay_directory.h"

#include <set>

#include "assay/base/error.h"
#include "assay/storage/assay_directory_manifest.h"
#include "assay/storage/model_file.h"
#include "assay/storage/sidecars.h"
#include "assay/storage/tensor_planes.h"

namespace assay {
namespace {

/// Takes a tensor's planes out of the arrays not yet claimed.
Tensor assemble_tensor(const ManifestTensor& entry, const StoredArrays& arrays,
                       std::set<std::string>& unclaimed, const std::string& directory) {
  const std::string where = fmt::format("{}: tensor {}", directory, entry.name);
  Tensor tensor;
  tensor.name = entry.name;
  tensor.shape = entry.shape;
  tensor.format = entry.format;
  tensor.checksum = entry.checksum;
  std::vector<PlaneArray> planes;
  try {
    planes = plane_arrays(entry.name, entry.shape, *entry.format);
  } catch (const Error& problem) {
    fail("{}/{}: {}", directory, kManifestFile, problem.what());
  }
  for (const PlaneArray& plane : planes) {
    const auto found = arrays.find(plane.name);
    if (found == arrays.end())
      fail("{}: plane {} is missing; {} needs it as {} {}", where, plane.name, entry.format->name(),
           dtype_name(plane.dtype), shape_text(plane.shape));
    const StoredArray& array = found->second;
    if (unclaimed.erase(plane.name) == 0)
      fail("{}: tensor {}: plane {} already belongs to another tensor", array.file, entry.name, plane.name);
    if (array.dtype != plane.dtype || array.shape != plane.shape)
      fail("{}: tensor {}: plane {} is {} {}, {} {} expected for {} {}", array.file, entry.name, plane.name,
           dtype_name(array.dtype), shape_text(array.shape), dtype_name(plane.dtype), shape_text(plane.shape),
           entry.format->name(), shape_text(entry.shape));
    tensor.planes.push_back(array.bytes);
    tensor.owners.push_back(array.owner);
  }
  tensor.dtype = planes.front().dtype;
  tensor.file = arrays.find(planes.front().name)->second.file;
  return tensor;
}

CheckpointPtr open_assay(const std::string& directory, Json manifest) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = directory;
  checkpoint->container = Container::assay;
  checkpoint->sidecars = read_sidecars(directory);
  checkpoint->config = sidecar_config(checkpoint->sidecars, directory);
  SafetensorsDirectory weights = open_safetensors_directory(directory);
  checkpoint->tensors = assemble_assay_tensors(manifest, weights.arrays, directory);
  checkpoint->files = std::move(weights.files);
  checkpoint->manifest = std::move(manifest);
  return checkpoint;
}

}  // namespace

bool has_manifest(const std::string& directory) {
  return has_entry(directory, kManifestFile);
}

CheckpointPtr open_with_manifest(const std::string& directory, const OpenOptions& options,
                                 const OpenDirectory& open_other) {
  Json manifest = read_manifest(model_file(directory, kManifestFile));
  const std::string container = manifest_container(manifest, directory);
  CheckpointPtr opened;
  if (container == container_name(Container::assay)) {
    opened = open_assay(directory, std::move(manifest));
  } else {
    auto checkpoint = std::make_shared<Checkpoint>(*open_other(directory, options));
    if (container != container_name(checkpoint->container))
      fail("{}/{}: container \"{}\", but the directory is {}", directory, kManifestFile, container,
           container_name(checkpoint->container));
    match_manifest(manifest, *checkpoint);
    checkpoint->manifest = std::move(manifest);
    opened = checkpoint;
  }
  check_file_sizes(*opened);
  return opened;
}

std::vector<Tensor> assemble_assay_tensors(const Json& manifest, const StoredArrays& arrays,
                                           const std::string& directory) {
  std::set<std::string> unclaimed;
  for (const auto& [name, array] : arrays) unclaimed.insert(name);
  std::vector<Tensor> tensors;
  for (const ManifestTensor& entry : manifest_tensors(manifest, directory))
    tensors.push_back(assemble_tensor(entry, arrays, unclaimed, directory));
  if (!unclaimed.empty())
    fail("{}: tensor {}: {} does not mention it", arrays.find(*unclaimed.begin())->second.file,
         *unclaimed.begin(), kManifestFile);
  return tensors;
}

}  // namespace assay
