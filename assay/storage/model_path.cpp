#include "assay/storage/model_path.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "assay/base/error.h"
#include "assay/storage/assay_directory.h"
#include "assay/storage/assay_directory_manifest.h"
#include "assay/storage/model_file.h"
#include "assay/storage/sidecars.h"

namespace assay {
namespace fs = std::filesystem;

ModelPath::ModelPath(std::string path) : path_(std::move(path)) {
  std::error_code problem;
  const fs::file_status status = fs::status(path_, problem);
  if (!fs::status_known(status)) fail("{}: cannot be looked at: {}", path_, problem.message());
  if (!fs::exists(status)) fail("{}: no such file or directory", path_);
  is_directory_ = fs::is_directory(status);
}

bool ModelPath::has_safetensors() const {
  return is_directory_ && assay::has_safetensors(path_);
}

const Json* ModelPath::manifest() {
  if (!manifest_ && is_directory_ && has_entry(path_, kManifestFile))
    manifest_ = read_manifest(model_file(path_, kManifestFile));
  return manifest_ ? &*manifest_ : nullptr;
}

const std::vector<std::string>& ModelPath::entries() {
  if (entries_) return *entries_;
  std::vector<std::string> names;
  std::error_code problem;
  for (fs::directory_iterator at(path_, problem), end; !problem && at != end; at.increment(problem))
    names.push_back(at->path().filename().string());
  if (problem) fail("{}: cannot list: {}", path_, problem.message());
  std::sort(names.begin(), names.end());
  return entries_.emplace(std::move(names));
}

const Sidecars& ModelPath::sidecars() {
  if (!sidecars_) sidecars_ = read_sidecars(path_);
  return *sidecars_;
}

const Json& ModelPath::config() {
  if (!config_) config_ = sidecar_config(sidecars(), path_);
  return *config_;
}

const SafetensorsDirectory& ModelPath::weights() {
  if (!weights_) {
    config();  // a folder without one is no model, whatever its weights
    weights_ = open_safetensors_directory(path_);
  }
  return *weights_;
}

}  // namespace assay
