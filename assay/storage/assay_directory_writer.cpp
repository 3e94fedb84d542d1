#include <filesystem>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json_text.h"
#include "assay/storage/assay_directory.h"
#include "assay/storage/mlx.h"
#include "assay/storage/model_file.h"
#include "assay/storage/safetensors_writer.h"
#include "assay/version.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

/// Sets object[key], or throws when it already says something else.
void settle(Json& object, const char* key, const Json& value, const std::string& where) {
  if (object.is_null()) object = Json::object();
  if (!object.is_object()) fail("{}: {}, a JSON object expected", where, object.type_name());
  const auto found = object.find(key);
  if (found != object.end() && *found != value)
    fail("{}: {} is {}, {} was written", where, key, found->dump(), value.dump());
  object[key] = value;
}

/// Shards, index and config of SafetensorsWriter, and the manifest at the end.
class AssayWriter final : public SafetensorsWriter {
 public:
  using SafetensorsWriter::SafetensorsWriter;

  void finish() override {
    SafetensorsWriter::finish();
    const std::string path = (directory_ / kManifestFile).string();
    Json manifest = has_entry(directory_.string(), kManifestFile) ? read_json_file(path) : Json::object();
    add_file(
        kManifestFile,
        json_text(complete_manifest(std::move(manifest), Container::assay, tensors(), shard_paths()), 1) +
            "\n");
  }
};

bool is_also_mlx(const std::vector<PlannedTensor>& tensors) {
  bool any = false;
  for (const PlannedTensor& tensor : tensors) {
    if (mlx_misfit(tensor)) return false;
    any |= mlx_width_of(*tensor.format).has_value();
  }
  return any;
}

}  // namespace

Json complete_manifest(Json manifest, Container container, const std::vector<PlannedTensor>& tensors,
                       const std::vector<std::string>& files) {
  const std::string where = kManifestFile;
  settle(manifest, "schema", kManifestSchema, where);
  settle(manifest, "container", container_name(container), where);
  if (!manifest.contains("assay")) manifest["assay"] = ASSAY_VERSION;
  Json& entries = manifest["tensors"];
  if (entries.is_null()) entries = Json::object();
  if (!entries.is_object()) fail("{}: \"tensors\" is {}, an object expected", where, entries.type_name());
  for (const PlannedTensor& tensor : tensors) {
    const std::string entry_where = fmt::format("{}: tensor {}", where, tensor.name);
    settle(entries[tensor.name], "format", tensor.format->name(), entry_where);
    settle(entries[tensor.name], "shape", tensor.shape, entry_where);
  }
  if (entries.size() != tensors.size())
    fail("{}: {} tensors, {} were written", where, entries.size(), tensors.size());
  Json listing = Json::array();
  for (const std::string& file : files) {
    const auto mapped = MappedFile::open(file);
    listing.push_back({{"name", fs::path(file).filename().string()},
                       {"bytes", mapped->bytes().size()},
                       {"sha256", sha256_hex(mapped->bytes())}});
  }
  manifest["files"] = std::move(listing);
  return manifest;
}

std::unique_ptr<CheckpointWriter> make_assay_writer(const std::filesystem::path& directory,
                                                    WriterInput input) {
  SafetensorsStyle style;
  if (is_also_mlx(input.tensors))
    style = {.format = "mlx", .always_index = true, .quantization = mlx_quantization_json(input.tensors)};
  return std::make_unique<AssayWriter>(directory, std::move(input), style);
}

}  // namespace assay
