#include "assay/quantize/manifest.h"

#include <filesystem>

#include "assay/base/file.h"
#include "assay/base/progress.h"
#include "assay/version.h"

namespace assay {

OrderedJson hash_files(const std::vector<std::string>& paths) {
  std::uint64_t total = 0;
  for (const std::string& path : paths) {
    std::error_code problem;  // a file that is gone is named when it is opened
    const std::uint64_t bytes = std::filesystem::file_size(path, problem);
    total += problem ? 0 : bytes;
  }
  Progress progress("hash", total, "bytes");
  OrderedJson list = OrderedJson::array();
  for (const std::string& path : paths) {
    const auto file = MappedFile::open(path);
    list.push_back({{"name", std::filesystem::path(path).filename().string()},
                    {"bytes", file->bytes().size()},
                    {"sha256", sha256_hex(file->bytes())}});
    progress.advance(file->bytes().size());
  }
  return list;
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
  return {{"assay", ASSAY_VERSION},
          {"revision", ASSAY_REVISION},
          {"schema", 1},
          {"container", std::string(container_name(input.container))},
          {"source",
           {{"path", std::filesystem::path(input.plan.source->path).lexically_normal().string()},
            {"container", std::string(container_name(input.plan.source->container))},
            {"files", hash_files(input.plan.source->files)}}},
          {"recipe", recipe_to_json(input.recipe)},
          {"size",
           {{"linear_bits_per_weight", size.linear_bits()},
            {"file_bits_per_weight", size.file_bits()},
            {"bytes", size.file_bytes}}},
          {"notes", input.plan.notes},
          {"tensors", std::move(tensors)},
          {"measurements", OrderedJson::array()}};
}

}  // namespace assay
