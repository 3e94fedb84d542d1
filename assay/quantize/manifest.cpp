#include "assay/quantize/manifest.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <system_error>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json_text.h"
#include "assay/base/progress.h"
#include "assay/version.h"

namespace assay {

namespace {

/// SHA-256 of a file. Kept for files that have not been touched for a while: a younger one may be written to
/// again within the same tick of the file system's clock.
std::string hash_of(const MappedFile& file) {
  struct Known {
    FileIdentity identity;
    std::string sha256;
  };
  static std::mutex mutex;
  static std::map<std::string, Known> known;
  constexpr std::int64_t kSettledNs = 2'000'000'000;
  const std::lock_guard lock(mutex);
  const auto found = known.find(file.path());
  if (found != known.end() && found->second.identity == file.identity()) return found->second.sha256;
  std::string sha256 = sha256_hex(file.bytes());
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  if (std::chrono::nanoseconds(now).count() - file.identity().modified_ns > kSettledNs)
    known[file.path()] = {file.identity(), sha256};
  return sha256;
}

OrderedJson ordered(const Json& json) {
  return OrderedJson::parse(json_text(json));
}

/// Where the model came from, the oldest first: what its manifest says of its source, and that one's of its.
OrderedJson origins_of(const Checkpoint& source) {
  OrderedJson origins = OrderedJson::array();
  if (!source.manifest) return origins;
  if (const auto earlier = source.manifest->find("origins"); earlier != source.manifest->end()) {
    if (!earlier->is_array()) fail("{}/assay.json: \"origins\" is no list", source.path);
    origins = ordered(*earlier);
  }
  if (const auto direct = source.manifest->find("source"); direct != source.manifest->end())
    origins.push_back(ordered(*direct));
  return origins;
}

}  // namespace

OrderedJson hash_files(const std::vector<std::string>& paths) {
  std::uint64_t total = 0;
  for (const std::string& path : paths) {
    std::error_code problem;  // told below, by who opens it
    const std::uint64_t bytes = std::filesystem::file_size(path, problem);
    if (!problem) total += bytes;
  }
  Progress progress("hash", total, "bytes");
  OrderedJson list = OrderedJson::array();
  for (const std::string& path : paths) {
    const auto file = MappedFile::open(path);
    list.push_back({{"name", std::filesystem::path(path).filename().string()},
                    {"bytes", file->bytes().size()},
                    {"sha256", hash_of(*file)}});
    progress.advance(file->bytes().size());
  }
  return list;
}

std::string content_identity(const Checkpoint& checkpoint) {
  std::vector<std::string> hashes;
  for (const auto& file : hash_files(checkpoint.files)) hashes.push_back(file["sha256"].get<std::string>());
  std::ranges::sort(hashes);
  std::string content = checkpoint.config.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const std::string& hash : hashes) content += "\n" + hash;
  return sha256_hex(std::as_bytes(std::span(content.data(), content.size())));
}

std::optional<Json> inherited_manifest(const Checkpoint& checkpoint) {
  if (!checkpoint.manifest) return std::nullopt;
  Json inherited = Json::object();
  for (const char* key : {"source", "origins", "texts", "calibration"})
    if (const auto found = checkpoint.manifest->find(key); found != checkpoint.manifest->end())
      inherited[key] = *found;
  return inherited;
}

OrderedJson make_manifest(const ManifestInput& input) {
  OrderedJson tensors = OrderedJson::object();
  for (std::size_t i = 0; i < input.plan.tensors.size(); ++i) {
    const TensorPlan& planned = input.plan.tensors[i];
    const MatrixShape shape = as_matrix(planned.source->shape);
    const TensorReport& report = input.reports[i];
    tensors[planned.source->name] = {
        {"format", planned.format->name()},
        {"shape", planned.source->shape},
        {"role", std::string(role_name(planned.role))},
        {"bits_per_weight", bits_per_weight(*planned.format, shape.rows, shape.columns)},
        {"source_format", planned.source->format->name()},
        {"method", report.method},
        {"relative_rms_error", report.error.relative_rms()},
        {"largest_error", report.error.largest}};
    if (report.calibration) tensors[planned.source->name]["calibration"] = report.calibration->to_json();
  }
  const SizeSummary size = planned_size(input.plan);
  Recipe recipe = input.recipe;
  recipe.texts.clear();  // among those of the manifest
  OrderedJson manifest = {
      {"assay", ASSAY_VERSION},
      {"revision", ASSAY_REVISION},
      {"schema", 1},
      {"container", std::string(container_name(input.container))},
      {"source",
       {{"path", std::filesystem::path(input.plan.source->path).lexically_normal().string()},
        {"container", std::string(container_name(input.plan.source->container))},
        {"files", hash_files(input.plan.source->files)}}},
      {"recipe", recipe_to_json(recipe)},
      {"size",
       {{"linear_bits_per_weight", size.linear_bits()},
        {"file_bits_per_weight", size.file_bits()},
        {"bytes", size.file_bytes}}},
      {"notes", input.plan.notes},
      {"tensors", std::move(tensors)},
      {"measurements", OrderedJson::array()}};
  if (OrderedJson origins = origins_of(*input.plan.source); !origins.empty())
    manifest["origins"] = std::move(origins);
  if (!input.texts.empty()) manifest["texts"] = texts_to_json(input.texts);
  return manifest;
}

}  // namespace assay
