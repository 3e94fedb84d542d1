#pragma once
// MLX directories: modules packed as `<p>.weight` U32, `<p>.scales` and, in affine mode, `<p>.biases`. Widths
// are what the shapes say; the config is the cross-check, and on disagreement the reader refuses.
#include <memory>
#include <optional>
#include <string>

#include "assay/storage/containers.h"
#include "assay/storage/mlx_config.h"
#include "assay/storage/safetensors.h"

namespace assay {

extern const ContainerRow kMlxContainer;

/// Does the configuration have MLX's "quantization", or does any array end in ".scales"?
bool is_mlx(const Json& config, const StoredArrays& arrays);

/// The checkpoint of such a directory. With options.architecture the row lengths are known and shapes alone
/// decide every width; without, shapes give only bits * group and the config settles the rest. Throws Error.
CheckpointPtr open_mlx(const std::string& directory, SafetensorsDirectory weights, Sidecars sidecars,
                       Json config, const OpenOptions& options);

/// The width under which MLX would describe this format; nothing for formats it does not have.
std::optional<MlxWidth> mlx_width_of(const Format& format);

/// Why an MLX directory cannot hold this tensor so; nothing when it can.
std::optional<std::string> mlx_misfit(const PlannedTensor& tensor);

/// The "quantization" object of config.json for these tensors: the commonest width at the top level, an
/// override for each module of another. Null when none is quantised.
Json mlx_quantization_json(const std::vector<PlannedTensor>& tensors);

/// A directory that mlx-lm loads: the shard index is always written, names stay as they are.
std::unique_ptr<CheckpointWriter> make_mlx_writer(const std::filesystem::path& directory, WriterInput input);

}  // namespace assay
