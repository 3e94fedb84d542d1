#include "assay/storage/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "assay/base/error.h"
#include "assay/storage/assay_directory.h"
#include "assay/storage/assay_directory_manifest.h"
#include "assay/storage/containers.h"
#include "assay/storage/model_path.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

CheckpointPtr open_any(const std::string& path, const OpenOptions& options) {
  ModelPath place(path);
  if (!place.is_directory() && fs::path(path).extension() == ".safetensors")
    fail("{}: a single safetensors file; give the directory that also holds its config.json", path);
  const Json* manifest = place.manifest();
  if (manifest != nullptr) manifest_container(*manifest, path);
  for (const ContainerRow* row : all_containers()) {
    if (!row->detect(place)) continue;
    CheckpointPtr opened = row->open(place, options);
    return manifest != nullptr ? with_manifest(opened, *manifest) : opened;
  }
  fail("{}: no model here: looked for {}, {}, {}, *.w3, *.q4, *.q3, *.f16 and *.gguf", path, kManifestFile,
       kSafetensorsFile, kSafetensorsIndex);
}

/// Nothing for what is no regular file, or cannot be asked.
std::optional<FileIdentity> regular_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return FileIdentity{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
                      static_cast<std::uint64_t>(status.st_size),
                      std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

using Identities = std::map<fs::path, FileIdentity>;  // by path, normal

/// The file, or the regular files of the folder.
void list_files(const std::string& path, Identities& files) {
  if (const auto file = regular_file(path)) files.emplace(fs::path(path).lexically_normal(), *file);
  std::error_code ignored;
  for (auto entry = fs::directory_iterator(path, ignored); entry != fs::directory_iterator();
       entry.increment(ignored)) {
    if (const auto file = regular_file(entry->path().string()))
      files.emplace(entry->path().lexically_normal(), *file);
  }
}

/// Of the files that were there, those that the checkpoint was read from.
std::vector<SourceFile> sources_of(const Checkpoint& checkpoint, const Identities& before) {
  std::set<std::string> names = {kSafetensorsIndex, "quantize_index.json"};
  for (const auto& [name, content] : checkpoint.sidecars) names.insert(name);
  std::vector<SourceFile> sources;
  for (const std::string& path : checkpoint.files) {
    const auto found = before.find(fs::path(path).lexically_normal());
    if (found == before.end()) fail("{}: appeared while the model was being opened", path);
    sources.push_back({path, found->second});
  }
  for (const auto& [path, identity] : before)
    if (names.contains(path.filename().string())) sources.push_back({path.string(), identity});
  return sources;
}

/// safetensors files of the folder that no tensor was read from. transformers looks at none of them either.
void warn_of_strays(Checkpoint& checkpoint, const Identities& before) {
  constexpr const char* kExtension = ".safetensors";
  if (checkpoint.files.empty() || !checkpoint.files.front().ends_with(kExtension)) return;
  const auto inside = [&](const fs::path& name) {
    return (fs::path(checkpoint.path) / name).lexically_normal();
  };
  std::set<fs::path> read;
  for (const std::string& path : checkpoint.files) read.insert(fs::path(path).lexically_normal());
  const bool indexed = before.contains(inside(kSafetensorsIndex));
  for (const auto& [path, identity] : before)
    if (path.extension() == kExtension && !read.contains(path) && path == inside(path.filename()))
      checkpoint.warnings.push_back(
          fmt::format("{}: ignored: {}", path.string(),
                      indexed ? fmt::format("{} does not name it", kSafetensorsIndex)
                              : fmt::format("without an index only {} is read", kSafetensorsFile)));
}

}  // namespace

std::string_view container_name(Container container) {
  return container->name;
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto found =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const Tensor& tensor, std::string_view key) { return tensor.name < key; });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

const Tensor& Checkpoint::at(std::string_view name) const {
  const Tensor* tensor = find(name);
  if (tensor == nullptr) fail("{}: tensor {}: missing", path, name);
  return *tensor;
}

CheckpointPtr open_checkpoint(const std::string& path, const OpenOptions& options) {
  Identities before;  // looked at first, so that no change from here on goes unseen
  list_files(path, before);
  if (!options.config_directory.empty()) list_files(options.config_directory, before);
  auto opened = std::make_shared<Checkpoint>(*open_any(path, options));
  opened->sources = sources_of(*opened, before);
  warn_of_strays(*opened, before);
  return opened;
}

void require_unchanged(const Checkpoint& checkpoint) {
  for (const SourceFile& source : checkpoint.sources) {
    const auto now = regular_file(source.path);
    if (now == source.identity) continue;
    fail("{}: {} while it was worked on; nothing was kept of it: run again", source.path,
         !now                                                                           ? "removed"
         : now->device != source.identity.device || now->inode != source.identity.inode ? "replaced"
         : now->size != source.identity.size
             ? fmt::format("{} bytes became {}", source.identity.size, now->size)
             : "written to");
  }
}

}  // namespace assay
