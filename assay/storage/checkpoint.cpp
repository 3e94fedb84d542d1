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
#include "assay/storage/gguf.h"
#include "assay/storage/huggingface.h"
#include "assay/storage/lattice.h"
#include "assay/storage/mlx.h"
#include "assay/storage/model_file.h"
#include "assay/storage/safetensors.h"
#include "assay/storage/sidecars.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

/// What a directory holds that tells its container.
struct Contents {
  bool lattice = false;
  std::vector<std::string> gguf;  // paths
};

Contents look_into(const std::string& directory) {
  static const std::set<std::string> kLatticeExtensions = {".w3", ".q4", ".q3", ".f16"};
  Contents contents;
  std::error_code problem;
  for (fs::directory_iterator at(directory, problem), end; !problem && at != end; at.increment(problem)) {
    const fs::directory_entry& entry = *at;
    const std::string name = entry.path().filename().string();
    // The Metal loader of lattice leaves its caches in the model directory.
    if (name.starts_with("merged_qkvz_")) continue;
    contents.lattice |= kLatticeExtensions.contains(entry.path().extension().string());
    if (entry.path().extension() == ".gguf") contents.gguf.push_back(entry.path().string());
  }
  if (problem) fail("{}: cannot list: {}", directory, problem.message());
  std::sort(contents.gguf.begin(), contents.gguf.end());
  return contents;
}

CheckpointPtr open_safetensors_model(const std::string& directory, const OpenOptions& options) {
  Sidecars sidecars = read_sidecars(directory);
  Json config = sidecar_config(sidecars, directory);
  SafetensorsDirectory weights = open_safetensors_directory(directory);
  if (is_mlx(config, weights.arrays))
    return open_mlx(directory, std::move(weights), std::move(sidecars), std::move(config), options);
  return open_huggingface(directory, std::move(weights), std::move(sidecars), std::move(config));
}

/// Detection in the order that every reader of these containers follows.
CheckpointPtr open_directory(const std::string& directory, const OpenOptions& options) {
  if (has_safetensors(directory)) return open_safetensors_model(directory, options);
  const Contents contents = look_into(directory);
  if (contents.lattice) return open_lattice(directory, options);
  if (contents.gguf.size() == 1)
    return open_gguf(model_file(directory, fs::path(contents.gguf[0]).filename().string()), options);
  if (contents.gguf.size() > 1)
    fail("{}: {} GGUF files ({}, {}, ...); name one of them", directory, contents.gguf.size(),
         contents.gguf[0], contents.gguf[1]);
  fail("{}: no model here: looked for {}, {}, {}, *.w3, *.q4, *.q3, *.f16 and *.gguf", directory,
       kManifestFile, kSafetensorsFile, kSafetensorsIndex);
}

CheckpointPtr open_any(const std::string& path, const OpenOptions& options) {
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  if (!fs::status_known(status)) fail("{}: cannot be looked at: {}", path, problem.message());
  if (!fs::exists(status)) fail("{}: no such file or directory", path);
  if (fs::is_directory(status))
    return has_manifest(path) ? open_with_manifest(path, options, open_directory)
                              : open_directory(path, options);
  if (fs::path(path).extension() == ".safetensors")
    fail("{}: a single safetensors file; give the directory that also holds its config.json", path);
  return open_gguf(path, options);
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

}  // namespace

std::string_view container_name(Container container) {
  switch (container) {
    case Container::huggingface:
      return "huggingface";
    case Container::assay:
      return "assay";
    case Container::mlx:
      return "mlx";
    case Container::lattice:
      return "lattice";
    case Container::gguf:
      return "gguf";
  }
  return "";
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
