#include "assay/storage/model_file.h"

#include <algorithm>
#include <filesystem>

#include "assay/base/error.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

bool lies_in(const fs::path& file, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first == folder.end();
}

/// The blobs that the links of a hub snapshot lead to; empty for other folders.
fs::path hub_blobs(const fs::path& folder) {
  for (fs::path at = folder; at.has_relative_path(); at = at.parent_path())
    if (at.parent_path().filename() == "snapshots") return at.parent_path().parent_path() / "blobs";
  return {};
}

}  // namespace

std::string model_file(const std::string& directory, const std::string& name) {
  const fs::path path = fs::path(directory) / name;
  std::error_code problem;
  if (!fs::is_symlink(fs::symlink_status(path, problem))) return path.string();
  const fs::path target = fs::canonical(path, problem);
  if (problem) fail("{}: cannot open what this link leads to: {}", path.string(), problem.message());
  const fs::path folder = fs::canonical(directory, problem);
  if (problem) fail("{}: cannot be resolved: {}", directory, problem.message());
  const fs::path blobs = hub_blobs(folder);
  if (!lies_in(target, folder) && (blobs.empty() || target.parent_path() != blobs))
    fail("{}: a link out of the directory, to {}; copy the file there instead", path.string(),
         target.string());
  return path.string();
}

bool has_entry(const std::string& directory, const std::string& name) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(fs::path(directory) / name, ignored));
}

}  // namespace assay
