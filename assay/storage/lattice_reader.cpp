#include <algorithm>
#include <filesystem>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/storage/lattice.h"
#include "assay/storage/lattice_assembly.h"
#include "assay/storage/lattice_file.h"
#include "assay/storage/lattice_index.h"
#include "assay/storage/model_file.h"
#include "assay/storage/sidecars.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kMergedCache = "merged_qkvz_";  // the Metal loader of lattice leaves them

/// Names of the weight files, leftovers left out.
std::set<std::string> weight_files(const std::string& directory) {
  std::set<std::string> names;
  std::error_code problem;
  for (fs::directory_iterator at(directory, problem), end; !problem && at != end; at.increment(problem)) {
    std::string name = at->path().filename().string();
    if (!is_lattice_leftover(name) && lattice_kind_of_file(name) != nullptr) names.insert(std::move(name));
  }
  if (problem) fail("{}: cannot list: {}", directory, problem.message());
  return names;
}

Sidecars gather_sidecars(const std::string& directory, const OpenOptions& options) {
  Sidecars sidecars = read_sidecars(directory);
  if (!options.config_directory.empty())
    sidecars.merge(read_sidecars(options.config_directory));  // what the directory has itself wins
  if (!sidecars.contains("config.json"))
    fail("{}: no config.json; give the directory of the source model (--config-dir DIR)", directory);
  return sidecars;
}

/// Any file that looks like one of its own, merged copies of a loader left out.
bool is_lattice(ModelPath& path) {
  if (!path.is_directory() || path.has_safetensors()) return false;
  static const std::set<std::string> kExtensions = {".w3", ".q4", ".q3", ".f16"};
  return std::ranges::any_of(path.entries(), [](const std::string& name) {
    return !name.starts_with(kMergedCache) && kExtensions.contains(fs::path(name).extension().string());
  });
}

CheckpointPtr open_lattice_folder(ModelPath& path, const OpenOptions& options) {
  return open_lattice(path.path(), options);
}

}  // namespace

constinit const ContainerRow kLatticeContainer = {.name = "lattice",
                                                  .detect = is_lattice,
                                                  .open = open_lattice_folder,
                                                  .misfit = lattice_misfit,
                                                  .write = make_lattice_writer,
                                                  .offered = true,
                                                  .has_manifest = true,
                                                  .float_format = "khf1"};

CheckpointPtr open_lattice(const std::string& directory, const OpenOptions& options) {
  LatticeContents contents;
  contents.directory = directory;
  contents.weight_files = weight_files(directory);
  if (contents.weight_files.empty())
    fail("{}: no .q4, .w3, .q3 or .f16 file: not a lattice directory", directory);
  contents.sidecars = gather_sidecars(directory, options);
  const std::string index(kLatticeIndexName);
  if (has_entry(directory, index))  // a dangling link must not count as absent
    contents.index = read_file(model_file(directory, index), kLatticeIndexBytes);
  contents.open = [directory](const std::string& path) {
    const auto file = MappedFile::open(model_file(directory, fs::path(path).filename().string()));
    return LatticeBytes{file->bytes(), file};
  };
  return assemble_lattice(contents, options);
}

}  // namespace assay
