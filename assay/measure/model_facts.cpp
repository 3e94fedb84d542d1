#include "assay/measure/model_facts.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>

#include "assay/base/file.h"
#include "assay/model/size_summary.h"

namespace assay {
namespace {

std::string last_component(const std::string& path) {
  std::filesystem::path name = std::filesystem::path(path).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  return name.filename().string();
}

std::string list_formats(const std::map<std::string, int>& counts) {
  std::string text;
  for (const auto& [name, count] : counts)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", name, count);
  return text;
}

/// The manifest's recipe is a name or an object with one.
std::string recipe_of(const Checkpoint& checkpoint) {
  if (!checkpoint.manifest || !checkpoint.manifest->is_object()) return "";
  const auto found = checkpoint.manifest->find("recipe");
  if (found == checkpoint.manifest->end()) return "";
  if (found->is_string()) return found->get<std::string>();
  return json_get_or<std::string>(*found, "name", "", checkpoint.path);
}

/// Errors that the manifest names, blocks in order: by name alone layer 10 would stand before layer 2.
std::vector<TensorError> tensor_errors_of(const Checkpoint& checkpoint) {
  std::vector<TensorError> errors;
  if (!checkpoint.manifest || !checkpoint.manifest->is_object()) return errors;
  const auto tensors = checkpoint.manifest->find("tensors");
  if (tensors == checkpoint.manifest->end() || !tensors->is_object()) return errors;
  for (const auto& [name, entry] : tensors->items())
    if (entry.is_object() && entry.contains("relative_rms_error"))
      errors.push_back({name, json_get<double>(entry, "relative_rms_error", checkpoint.path + ": " + name)});
  std::stable_sort(errors.begin(), errors.end(), [](const TensorError& a, const TensorError& b) {
    return layer_of(a.tensor) < layer_of(b.tensor);
  });
  return errors;
}

/// A reference is hashed before it is measured against and described behind; it may be large.
std::string hash_once(const MappedFile& file) {
  struct Known {
    FileIdentity identity;
    std::string sha256;
  };
  static std::mutex mutex;
  static std::map<std::string, Known> known;
  const std::lock_guard lock(mutex);
  Known& entry = known[file.path()];
  if (entry.sha256.empty() || !(entry.identity == file.identity()))
    entry = {file.identity(), sha256_hex(file.bytes())};
  return entry.sha256;
}

}  // namespace

std::vector<FileFact> hash_weight_files(const Checkpoint& checkpoint, ProgressSink* sink) {
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::uint64_t total = 0;
  for (const std::string& path : checkpoint.files) {
    files.push_back(MappedFile::open(path));
    total += files.back()->bytes().size();
  }
  Progress progress(sink, "hashing " + last_component(checkpoint.path), total, "bytes");
  std::vector<FileFact> facts;
  for (const auto& file : files) {
    facts.push_back({last_component(file->path()), file->bytes().size(), hash_once(*file)});
    progress.advance(file->bytes().size());
  }
  return facts;
}

ModelFacts describe_model(const LoadedModel& loaded) {
  const Checkpoint& checkpoint = *loaded.checkpoint;
  ModelFacts facts;
  facts.path = checkpoint.path;
  facts.name = last_component(checkpoint.path);
  facts.container = container_name(checkpoint.container);
  facts.recipe = recipe_of(checkpoint);
  facts.kernels = loaded.model->kernel_report();
  std::map<std::string, int> formats;
  for (const Tensor& tensor : checkpoint.tensors) {
    const auto role = classify_tensor(tensor.name);
    if (role && is_block_matrix(*role) && tensor.format) ++formats[tensor.format->name()];
  }
  facts.formats = list_formats(formats);
  facts.tensor_errors = tensor_errors_of(checkpoint);
  const SizeSummary size = stored_size(checkpoint);
  facts.bytes = size.file_bytes;
  facts.linear_bits_per_weight = size.linear_bits();
  facts.file_bits_per_weight = size.file_bits();
  facts.files = hash_weight_files(checkpoint, loaded.context.progress);
  return facts;
}

OrderedJson to_json(const ModelFacts& facts) {
  OrderedJson files = OrderedJson::array();
  for (const FileFact& file : facts.files)
    files.push_back({{"file", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  return {{"path", facts.path},
          {"container", facts.container},
          {"recipe", facts.recipe},
          {"formats", facts.formats},
          {"bits_per_weight_linear", facts.linear_bits_per_weight},
          {"bits_per_weight_file", facts.file_bits_per_weight},
          {"bytes", facts.bytes},
          {"files", files},
          {"kernels", facts.kernels}};
}

}  // namespace assay
