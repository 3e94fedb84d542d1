#include "assay/storage/assay_directory.h"

#include <set>

#include "assay/base/error.h"
#include "assay/storage/assay_directory_manifest.h"
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
  tensor.slice_checksums = entry.slice_checksums;
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

bool is_assay(ModelPath& path) {
  const Json* manifest = path.manifest();
  return manifest != nullptr && manifest_container(*manifest, path.path()) == kAssayContainer.name;
}

CheckpointPtr open_assay(ModelPath& path, const OpenOptions& /*options*/) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = path.path();
  checkpoint->container = Container::assay;
  checkpoint->config = path.config();
  checkpoint->sidecars = path.sidecars();
  checkpoint->manifest = *path.manifest();
  checkpoint->tensors =
      assemble_assay_tensors(*checkpoint->manifest, path.weights().arrays, checkpoint->path);
  checkpoint->files = path.weights().files;
  return checkpoint;
}

/// Anything that is a tensor.
std::optional<std::string> assay_misfit(const PlannedTensor& /*tensor*/) {
  return std::nullopt;
}

}  // namespace

constinit const ContainerRow kAssayContainer = {.name = "assay",
                                                .detect = is_assay,
                                                .open = open_assay,
                                                .misfit = assay_misfit,
                                                .write = make_assay_writer,
                                                .offered = true,
                                                .has_manifest = true,
                                                .owns_manifest = true};

CheckpointPtr with_manifest(const CheckpointPtr& opened, const Json& manifest) {
  auto checkpoint = std::make_shared<Checkpoint>(*opened);
  if (!checkpoint->container->owns_manifest) {
    const std::string container = manifest_container(manifest, checkpoint->path);
    if (container != checkpoint->container->name)
      fail("{}/{}: container \"{}\", but the directory is {}", checkpoint->path, kManifestFile, container,
           checkpoint->container->name);
    match_manifest(manifest, *checkpoint);
    checkpoint->manifest = manifest;
  }
  check_file_sizes(*checkpoint);
  return checkpoint;
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
