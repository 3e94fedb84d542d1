#include "assay/storage/assay_directory_manifest.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/formats/table.h"
#include "assay/storage/assay_directory.h"
#include "assay/version.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxManifestDims = 8;

struct ManifestFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;  // empty: not recorded
};

std::string manifest_path(const std::string& directory) {
  return (fs::path(directory) / kManifestFile).string();
}

std::uint64_t parse_checksum(const Json& json, const char* key, const std::string& where) {
  const std::string text = json.is_string() ? json.get<std::string>() : "";
  std::uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [at, problem] = std::from_chars(text.data(), end, value, 16);
  if (problem != std::errc() || at != end || text.empty())
    fail("{}: \"{}\" is {}, up to 16 hexadecimal digits expected", where, key, json.dump());
  return value;
}

void parse_checksums(const Json& entry, ManifestTensor& tensor, const std::string& where) {
  if (const auto found = entry.find(kChecksumKey); found != entry.end())
    tensor.checksum = parse_checksum(*found, kChecksumKey, where);
  const auto slices = entry.find(kSliceChecksumsKey);
  if (slices == entry.end()) return;
  const std::uint64_t rows = as_matrix(tensor.shape).rows;
  if (!slices->is_array() || slices->empty() || rows % slices->size() != 0)
    fail("{}: \"{}\" is no list of as many checksums as divide its {} rows", where, kSliceChecksumsKey, rows);
  for (const Json& slice : *slices)
    tensor.slice_checksums.push_back(parse_checksum(slice, kSliceChecksumsKey, where));
}

ManifestTensor parse_tensor(const std::string& name, const Json& entry, const std::string& path) {
  require_printable(name, path);
  const std::string where = fmt::format("{}: tensor {}", path, name);
  if (!entry.is_object()) fail("{}: is {}, an object expected", where, entry.type_name());
  const auto format_name = json_get<std::string>(entry, "format", where);
  ManifestTensor tensor{
      .name = name, .format = find_format(format_name), .shape = {}, .checksum = {}, .slice_checksums = {}};
  if (tensor.format == nullptr)
    fail("{}: format \"{}\" is unknown to assay {}", where, format_name, ASSAY_VERSION);
  const auto shape = entry.find("shape");
  if (shape == entry.end() || !shape->is_array() || shape->size() > kMaxManifestDims)
    fail("{}: no \"shape\" of at most {} dimensions", where, kMaxManifestDims);
  for (const Json& dim : *shape) {
    if (!dim.is_number_unsigned())
      fail("{}: dimension is {}, a non-negative integer expected", where, dim.dump());
    tensor.shape.push_back(dim.get<std::uint64_t>());
  }
  parse_checksums(entry, tensor, where);
  return tensor;
}

std::vector<ManifestFile> manifest_files(const Json& manifest, const std::string& path) {
  std::vector<ManifestFile> files;
  const auto found = manifest.find("files");
  if (found == manifest.end()) return files;
  if (!found->is_array()) fail("{}: \"files\" is {}, an array expected", path, found->type_name());
  for (const Json& entry : *found) {
    const std::string where = path + ": files";
    files.push_back({.name = json_get<std::string>(entry, "name", where),
                     .bytes = json_get<std::uint64_t>(entry, "bytes", where),
                     .sha256 = json_get_or<std::string>(entry, "sha256", "", where)});
    if (!is_plain_file_name(files.back().name))
      fail("{}: {} is not a plain file name", where, Json(files.back().name).dump());
  }
  return files;
}

/// Is `named` the format found, or a rule of making codes for it: "khq4-sym" for "khq4", with the same
/// planes?
bool is_same_or_finer(const Format& named, const Format& found, const Shape& shape) {
  if (named.name() == found.name()) return true;
  const std::uint64_t columns = as_matrix(shape).columns;
  const Layout a = named.layout(columns), b = found.layout(columns);
  const auto same_plane = [](const Plane& x, const Plane& y) {
    return x.suffix == y.suffix && x.dtype == y.dtype && x.record_bytes == y.record_bytes;
  };
  return named.name().starts_with(found.name() + "-") && a.share == b.share && a.run == b.run &&
         a.units_per_record == b.units_per_record &&
         std::equal(a.planes.begin(), a.planes.end(), b.planes.begin(), b.planes.end(), same_plane);
}

const std::string* path_of(const Checkpoint& checkpoint, const std::string& name) {
  for (const std::string& path : checkpoint.files)
    if (fs::path(path).filename() == name) return &path;
  return nullptr;
}

/// The whole listing: every file recorded once, none unrecorded.
void check_listing(const Checkpoint& checkpoint, const std::vector<ManifestFile>& files,
                   const std::string& path) {
  std::vector<std::string> names;
  for (const ManifestFile& file : files) {
    if (path_of(checkpoint, file.name) == nullptr)
      fail("{}: lists {}, which is no weight file of this directory", path, file.name);
    if (std::find(names.begin(), names.end(), file.name) != names.end())
      fail("{}: lists {} twice", path, file.name);
    names.push_back(file.name);
  }
  for (const std::string& file : checkpoint.files)
    if (std::find(names.begin(), names.end(), fs::path(file).filename().string()) == names.end())
      fail("{}: not listed in {}", file, path);
}

}  // namespace

Json read_manifest(const std::string& path) {
  Json manifest = read_json_file(path);
  if (!manifest.is_object()) fail("{}: holds {}, a JSON object expected", path, manifest.type_name());
  const auto schema = json_get<std::uint64_t>(manifest, "schema", path);
  if (schema != kManifestSchema)
    fail("{}: schema {}, this assay {} reads {}; use the version that wrote it", path, schema, ASSAY_VERSION,
         kManifestSchema);
  return manifest;
}

std::string manifest_container(const Json& manifest, const std::string& directory) {
  const std::string path = manifest_path(directory);
  auto name = json_get<std::string>(manifest, "container", path);
  for (const ContainerRow* row : all_containers())
    if (row->has_manifest && row->name == name) return name;
  fail("{}: container \"{}\"; {} expected", path, name,
       container_names([](const ContainerRow& row) { return row.has_manifest; }));
}

std::vector<ManifestTensor> manifest_tensors(const Json& manifest, const std::string& directory) {
  const std::string path = manifest_path(directory);
  const auto found = manifest.find("tensors");
  if (found == manifest.end() || !found->is_object()) fail("{}: no object \"tensors\"", path);
  std::vector<ManifestTensor> tensors;
  for (const auto& [name, entry] : found->items()) tensors.push_back(parse_tensor(name, entry, path));
  return tensors;
}

void match_manifest(const Json& manifest, Checkpoint& checkpoint) {
  const std::string path = manifest_path(checkpoint.path);
  const std::vector<ManifestTensor> entries = manifest_tensors(manifest, checkpoint.path);
  for (const ManifestTensor& entry : entries) {
    const auto found = std::find_if(checkpoint.tensors.begin(), checkpoint.tensors.end(),
                                    [&](const Tensor& tensor) { return tensor.name == entry.name; });
    if (found == checkpoint.tensors.end()) fail("{}: tensor {}: not in the directory", path, entry.name);
    if (found->shape != entry.shape)
      fail("{}: tensor {}: shape {}, {} says {}", found->file, entry.name, shape_text(found->shape),
           kManifestFile, shape_text(entry.shape));
    if (found->format == nullptr || !is_same_or_finer(*entry.format, *found->format, found->shape))
      fail("{}: tensor {}: format {}, {} says {}", found->file, entry.name,
           found->format ? found->format->name() : "none", kManifestFile, entry.format->name());
    found->format = entry.format;
    found->checksum = entry.checksum;
    found->slice_checksums = entry.slice_checksums;
  }
  for (const Tensor& tensor : checkpoint.tensors)
    if (!manifest["tensors"].contains(tensor.name))
      fail("{}: tensor {}: {} does not mention it", tensor.file, tensor.name, kManifestFile);
}

void check_file_sizes(const Checkpoint& checkpoint) {
  if (!checkpoint.manifest || !checkpoint.manifest->contains("files")) return;
  const std::string path = manifest_path(checkpoint.path);
  const std::vector<ManifestFile> files = manifest_files(*checkpoint.manifest, path);
  check_listing(checkpoint, files, path);
  for (const ManifestFile& file : files) {
    const std::string& on_disk = *path_of(checkpoint, file.name);
    std::error_code problem;
    const std::uint64_t bytes = fs::file_size(on_disk, problem);
    if (problem || bytes != file.bytes)
      fail("{}: {} bytes, {} says {}", on_disk, problem ? 0 : bytes, kManifestFile, file.bytes);
  }
}

void verify_files(const Checkpoint& checkpoint) {
  const std::string path = manifest_path(checkpoint.path);
  if (!checkpoint.manifest || !checkpoint.manifest->contains("files"))
    fail("{}: no {} with file hashes to verify", checkpoint.path, kManifestFile);
  const std::vector<ManifestFile> files = manifest_files(*checkpoint.manifest, path);
  check_listing(checkpoint, files, path);
  for (const ManifestFile& file : files) {
    if (file.sha256.empty()) fail("{}: file {}: no sha256 recorded", path, file.name);
    const std::string& on_disk = *path_of(checkpoint, file.name);
    const std::string found = sha256_hex(MappedFile::open(on_disk)->bytes());
    if (found != file.sha256) fail("{}: sha256 {}, {} says {}", on_disk, found, kManifestFile, file.sha256);
  }
}

}  // namespace assay
