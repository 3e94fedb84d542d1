#include <algorithm>

#include "assay/base/error.h"
#include "assay/storage/mlx.h"
#include "assay/storage/safetensors_writer.h"
#include "assay/storage/tensor_planes.h"

namespace assay {
namespace {

constexpr std::string_view kMlxWeightSuffix = ".weight";

Json width_json(const MlxWidth& width, bool with_mode) {
  Json object = {{"group_size", width.group}, {"bits", width.bits}};
  if (with_mode) object["mode"] = mlx_mode_name(width.mode);
  return object;
}

}  // namespace

std::optional<MlxWidth> mlx_width_of(const Format& format) {
  // Any multiple of every group will do for asking; the plane records do not depend on K.
  const Layout layout = format.layout(128);
  const auto& planes = layout.planes;
  if (layout.share != Share::run_in_row || planes.size() < 2 || planes[0].dtype != DType::U32)
    return std::nullopt;
  MlxWidth width{.group = layout.run, .bits = planes[0].record_bytes * 8 / layout.run};
  if (planes.size() == 2) {
    const bool four = width.bits == 4;
    width.mode = !four ? MlxMode::mxfp8 : width.group == 32 ? MlxMode::mxfp4 : MlxMode::nvfp4;
  }
  return mlx_width_exists(width) ? std::optional(width) : std::nullopt;
}

std::optional<std::string> mlx_misfit(const PlannedTensor& tensor) {
  if (is_plain_float(*tensor.format)) return std::nullopt;
  if (!mlx_width_of(*tensor.format))
    return fmt::format("MLX has no {}; it holds mlx formats, f32, f16 and bf16", tensor.format->name());
  if (tensor.shape.size() < 2)
    return fmt::format("MLX quantises matrices only, this is {}", shape_text(tensor.shape));
  if (!tensor.name.ends_with(kMlxWeightSuffix))
    return "MLX quantises modules only: the name must end in .weight";
  return std::nullopt;
}

Json mlx_quantization_json(const std::vector<PlannedTensor>& tensors) {
  std::map<MlxWidth, std::size_t> counts;
  for (const PlannedTensor& tensor : tensors)
    if (const auto width = mlx_width_of(*tensor.format)) ++counts[*width];
  if (counts.empty()) return nullptr;
  const MlxWidth top = std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
                         return a.second < b.second;
                       })->first;
  Json quantization = width_json(top, true);
  for (const PlannedTensor& tensor : tensors) {
    const auto width = mlx_width_of(*tensor.format);
    if (width && *width != top)
      quantization[module_of(tensor.name)] = width_json(*width, width->mode != MlxMode::affine);
  }
  return quantization;
}

std::unique_ptr<CheckpointWriter> make_mlx_writer(const std::filesystem::path& directory, WriterInput input) {
  const Json quantization = mlx_quantization_json(input.tensors);
  return std::make_unique<SafetensorsWriter>(
      directory, std::move(input),
      SafetensorsStyle{.format = "mlx", .always_index = true, .quantization = quantization});
}

}  // namespace assay
