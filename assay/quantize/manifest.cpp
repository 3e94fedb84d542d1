#include "assay/quantize/manifest.h"

#include <filesystem>

#include "assay/base/error.h"
#include "assay/base/json_text.h"
#include "assay/storage/provenance.h"
#include "assay/version.h"

namespace assay {

namespace {

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
        {"method", method_name(planned.method)},
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
        {"files", hash_files(input.plan.source->files, input.progress)}}},
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
