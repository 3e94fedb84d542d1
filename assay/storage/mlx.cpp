#include "assay/storage/mlx.h"

#include <algorithm>
#include <cmath>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/mlx_float.h"
#include "assay/formats/table.h"
#include "assay/storage/huggingface.h"
#include "assay/storage/tensor_planes.h"

namespace assay {
namespace {

constexpr std::uint64_t kBitsPerWord = 32;

using ExpectedShapes = std::map<std::string, Shape, std::less<>>;

/// The arrays of one quantised module.
struct PackedModule {
  std::string path;  // "model.layers.0.mlp.gate_proj"
  const StoredArray* weight = nullptr;
  const StoredArray* scales = nullptr;
  const StoredArray* biases = nullptr;        // affine only
  const StoredArray* global_scale = nullptr;  // nvfp4 only, and optional there
  std::string where() const { return fmt::format("{}: tensor {}.weight", weight->file, path); }
};

const StoredArray* find_array(const StoredArrays& arrays, const std::string& name) {
  const auto found = arrays.find(name);
  return found == arrays.end() ? nullptr : &found->second;
}

bool same_leading_dims(const Shape& a, const Shape& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end() - 1, b.begin());
}

bool is_companion(const std::string& name) {
  return name.ends_with(".scales") || name.ends_with(".biases") || name.ends_with(".global_scale");
}

/// Scales must belong to a weight.
void require_weight(const StoredArrays& arrays, const std::string& path) {
  if (!arrays.contains(path + ".weight"))
    fail("{}: tensor {}.scales: there is no {}.weight", arrays.at(path + ".scales").file, path, path);
}

/// A tensor of a module without scales: it must not look packed.
Tensor unpacked_tensor(const std::string& name, const std::string& path, const StoredArray& array) {
  if (name.ends_with(".biases")) fail("{}: tensor {}: there is no {}.scales", array.file, name, path);
  if (name.ends_with(".weight") && array.dtype == DType::U32)
    fail("{}: tensor {}: packed (U32), but there is no {}.scales", array.file, name, path);
  return plain_tensor(name, array);
}

/// The arrays of a packed `<p>.weight`, consistent with each other.
PackedModule collect_module(const StoredArrays& arrays, const std::string& path) {
  PackedModule module{.path = path,
                      .weight = find_array(arrays, path + ".weight"),
                      .scales = find_array(arrays, path + ".scales"),
                      .biases = find_array(arrays, path + ".biases"),
                      .global_scale = find_array(arrays, path + ".global_scale")};
  const StoredArray& weight = *module.weight;
  const StoredArray& scales = *module.scales;
  if (weight.dtype != DType::U32)
    fail("{}: stored as {}, U32 expected beside .scales", module.where(), dtype_name(weight.dtype));
  if (weight.shape.size() < 2)
    fail("{}: packed shape {}, at least two axes expected", module.where(), shape_text(weight.shape));
  if (!same_leading_dims(weight.shape, scales.shape))
    fail("{}: packed shape {} and scales {} differ before the last axis", module.where(),
         shape_text(weight.shape), shape_text(scales.shape));
  if (weight.shape.back() == 0 || scales.shape.back() == 0) fail("{}: rows without weights", module.where());
  if (scales.dtype == DType::U8) {
    if (module.biases != nullptr) fail("{}: U8 scales (an fp mode) and .biases together", module.where());
    return module;
  }
  if (!is_float(scales.dtype))
    fail("{}: scales stored as {}; F16, BF16, F32 or U8 expected", module.where(), dtype_name(scales.dtype));
  if (module.biases == nullptr) fail("{}: has .scales but no .biases", module.where());
  if (module.biases->shape != scales.shape || module.biases->dtype != scales.dtype)
    fail("{}: scales are {} {}, biases {} {}; they must agree", module.where(), dtype_name(scales.dtype),
         shape_text(scales.shape), dtype_name(module.biases->dtype), shape_text(module.biases->shape));
  return module;
}

std::uint64_t bits_per_row(const PackedModule& module) {
  const auto bits = checked_multiply(module.weight->shape.back(), kBitsPerWord);
  if (!bits) fail("{}: packed shape {} overflows 64 bits", module.where(), shape_text(module.weight->shape));
  return *bits;
}

MlxMode fp_mode_of(std::uint64_t group, std::uint64_t bits, const PackedModule& module) {
  for (const MlxWidth width :
       {MlxWidth{MlxMode::mxfp4, 32, 4}, MlxWidth{MlxMode::mxfp8, 32, 8}, MlxWidth{MlxMode::nvfp4, 16, 4}})
    if (width.group == group && width.bits == bits) return width.mode;
  fail("{}: U8 scales and shapes of {} bits group {}; mxfp4 (4, 32), mxfp8 (8, 32) or nvfp4 (4, 16) expected",
       module.where(), bits, group);
}

/// Width when the row length K is known: shapes alone decide.
MlxWidth width_for_columns(const PackedModule& module, std::uint64_t columns) {
  const std::uint64_t groups = module.scales->shape.back();
  const std::uint64_t row_bits = bits_per_row(module);
  if (columns == 0 || columns % groups != 0)
    fail("{}: {} groups a row do not divide K = {}", module.where(), groups, columns);
  if (row_bits % columns != 0)
    fail("{}: {} words a row are no whole number of bits for K = {}", module.where(), row_bits / kBitsPerWord,
         columns);
  MlxWidth width{.group = columns / groups, .bits = row_bits / columns};
  if (module.scales->dtype == DType::U8) width.mode = fp_mode_of(width.group, width.bits, module);
  if (!mlx_width_exists(width))
    fail("{}: shapes say {} (K = {}), which MLX does not have", module.where(), mlx_width_text(width),
         columns);
  return width;
}

/// Width when only bits * group is known. The fp modes have distinct products; affine needs the config.
MlxWidth width_from_product(const PackedModule& module, const std::optional<MlxWidth>& configured) {
  const std::uint64_t groups = module.scales->shape.back();
  const std::uint64_t row_bits = bits_per_row(module);
  if (row_bits % groups != 0)
    fail("{}: {} words a row do not divide into {} groups", module.where(), row_bits / kBitsPerWord, groups);
  const std::uint64_t product = row_bits / groups;
  if (module.scales->dtype == DType::U8) {
    for (const MlxWidth width :
         {MlxWidth{MlxMode::mxfp4, 32, 4}, MlxWidth{MlxMode::mxfp8, 32, 8}, MlxWidth{MlxMode::nvfp4, 16, 4}})
      if (width.group * width.bits == product) return width;
    fail("{}: U8 scales and shapes of bits * group = {}; mxfp4 (128), mxfp8 (256) or nvfp4 (64) expected",
         module.where(), product);
  }
  if (!configured)
    fail("{}: shapes say bits * group = {} and config.json has no width for it: the row length is needed",
         module.where(), product);
  if (configured->mode != MlxMode::affine || configured->bits * configured->group != product)
    fail("{}: config says {} (bits * group = {}), shapes say affine with bits * group = {}", module.where(),
         mlx_width_text(*configured), configured->bits * configured->group, product);
  return *configured;
}

/// K from the architecture, its shape compared with the stored one; nothing when it does not know the tensor.
std::optional<std::uint64_t> known_columns(const PackedModule& module, const ExpectedShapes& expected) {
  const auto found = expected.find(module.path + ".weight");
  if (found == expected.end()) return std::nullopt;
  if (!same_leading_dims(module.weight->shape, found->second))
    fail("{}: packed shape {}, the architecture expects {}", module.where(), shape_text(module.weight->shape),
         shape_text(found->second));
  return found->second.back();
}

MlxWidth settle_width(const PackedModule& module, const std::optional<MlxWidth>& configured,
                      const ExpectedShapes& expected) {
  const auto columns = known_columns(module, expected);
  if (!columns) {
    const MlxWidth width = width_from_product(module, configured);
    if (configured && *configured != width)
      fail("{}: config says {}, shapes say {}", module.where(), mlx_width_text(*configured),
           mlx_width_text(width));
    return width;
  }
  const MlxWidth width = width_for_columns(module, *columns);
  if (configured && *configured != width)
    fail("{}: config says {}, shapes say {} (K = {})", module.where(), mlx_width_text(*configured),
         mlx_width_text(width), *columns);
  return width;
}

FormatPtr globally_scaled(const PackedModule& module, const MlxWidth& width) {
  const StoredArray& array = *module.global_scale;
  if (width.mode != MlxMode::nvfp4)
    fail("{}: a .global_scale beside {}; only nvfp4 has one", module.where(), mlx_width_text(width));
  if (array.dtype != DType::F32 || array.bytes.size() != sizeof(float))
    fail("{}: .global_scale is {} {}, one F32 expected", module.where(), dtype_name(array.dtype),
         shape_text(array.shape));
  const float scale = load<float>(array.bytes.data());
  if (!std::isfinite(scale)) fail("{}: .global_scale {} is not finite", module.where(), scale);
  return nvfp4_with_global_scale(scale);
}

FormatPtr format_for(const PackedModule& module, const MlxWidth& width) {
  if (module.global_scale != nullptr) return globally_scaled(module, width);
  if (width.mode != MlxMode::affine) return find_format(mlx_mode_name(width.mode));
  const DType parameters = module.scales->dtype;
  const char* type = parameters == DType::F16 ? "f16" : parameters == DType::BF16 ? "bf16" : "f32";
  return find_format(fmt::format("mlx{}-g{}-{}", width.bits, width.group, type));
}

Tensor packed_tensor(const PackedModule& module, const MlxWidth& width) {
  const auto columns = checked_multiply(module.scales->shape.back(), width.group);
  if (!columns) fail("{}: scales {} overflow 64 bits", module.where(), shape_text(module.scales->shape));
  Tensor tensor;
  tensor.name = module.path + ".weight";
  tensor.shape = module.weight->shape;
  tensor.shape.back() = *columns;
  tensor.format = format_for(module, width);
  tensor.dtype = module.weight->dtype;
  tensor.file = module.weight->file;
  for (const StoredArray* array : {module.weight, module.scales, module.biases}) {
    if (array == nullptr) continue;
    tensor.planes.push_back(array->bytes);
    tensor.owners.push_back(array->owner);
  }
  return tensor;
}

/// The overrides of the config under the module paths of the file.
class Overrides {
 public:
  Overrides(const MlxQuantization& quantization, const StoredArrays& arrays, const std::string& config_path) {
    for (const auto& [key, width] : quantization.overrides) {
      const std::string module = resolve(key, arrays, config_path);
      if (!by_module_.emplace(module, width).second)
        fail("{}: quantization of {}: a second entry for module {}", config_path, key, module);
    }
  }

  /// The module's own entry, else the top level's.
  std::optional<MlxWidth> width_of(const PackedModule& module, const std::optional<MlxWidth>& top) const {
    const auto found = by_module_.find(module.path);
    if (found == by_module_.end()) return top;
    if (!found->second)
      fail("{}: config says \"{}\" is not quantised, but {}.scales exists", module.where(), module.path,
           module.path);
    return found->second;
  }

  /// Every override that names a width must have met a quantised module.
  void require_quantized(const StoredArrays& arrays, const std::string& config_path) const {
    for (const auto& [module, width] : by_module_)
      if (width && !arrays.contains(module + ".scales"))
        fail("{}: quantization of {}: config says {}, but {}.scales does not exist", config_path, module,
             mlx_width_text(*width), module);
  }

 private:
  /// Converters were seen to write the key with the source's prefix, or without the one that was put before
  /// it later.
  static std::string resolve(const std::string& key, const StoredArrays& arrays,
                             const std::string& config_path) {
    constexpr std::string_view kSourcePrefix = "model.language_model.";
    std::vector<std::string> candidates = {key, "model." + key, "language_model." + key};
    if (key.starts_with(kSourcePrefix))
      candidates.push_back("language_model.model." + key.substr(kSourcePrefix.size()));
    for (const std::string& candidate : candidates)
      if (arrays.contains(candidate + ".weight")) return candidate;
    fail("{}: quantization of {}: no tensor {}.weight", config_path, key, key);
  }

  std::map<std::string, std::optional<MlxWidth>> by_module_;
};

ExpectedShapes expected_shapes(const OpenOptions& options, const Json& config) {
  ExpectedShapes shapes;
  if (!options.architecture) return shapes;
  if (auto tensors = options.architecture(config))
    for (ExpectedTensor& tensor : *tensors)
      if (!tensor.shape.empty()) shapes.emplace(std::move(tensor.name), std::move(tensor.shape));
  return shapes;
}

void warn_about_routers(const std::vector<std::pair<std::string, MlxWidth>>& routers,
                        Checkpoint& checkpoint) {
  if (routers.empty()) return;
  checkpoint.warnings.push_back(
      fmt::format("{}: {} routers below 8 bits (first: {}, {}); expert choice suffers", checkpoint.path,
                  routers.size(), routers.front().first, mlx_width_text(routers.front().second)));
}

bool is_mlx_folder(ModelPath& path) {
  return path.has_safetensors() && is_mlx(path.config(), path.weights().arrays);
}

CheckpointPtr open_mlx_folder(ModelPath& path, const OpenOptions& options) {
  return open_mlx(path.path(), path.weights(), path.sidecars(), path.config(), options);
}

}  // namespace

constinit const ContainerRow kMlxContainer = {.name = "mlx",
                                              .detect = is_mlx_folder,
                                              .open = open_mlx_folder,
                                              .misfit = mlx_misfit,
                                              .write = make_mlx_writer,
                                              .offered = true,
                                              .has_manifest = true,
                                              .mlx_conventions = true};

bool is_mlx(const Json& config, const StoredArrays& arrays) {
  if (has_mlx_quantization(config)) return true;
  for (const auto& [name, array] : arrays) {
    if (!name.ends_with(".scales")) continue;
    const StoredArray* weight = find_array(arrays, name.substr(0, name.size() - 7) + ".weight");
    if (weight != nullptr && weight->dtype == DType::U32) return true;
  }
  return false;
}

CheckpointPtr open_mlx(const std::string& directory, SafetensorsDirectory weights, Sidecars sidecars,
                       Json config, const OpenOptions& options) {
  if (!config.contains("quantization")) refuse_foreign_quantization(config, directory);
  const std::string config_path = directory + "/config.json";
  const MlxQuantization quantization = parse_mlx_quantization(config, config_path);
  const StoredArrays& arrays = weights.arrays;
  const Overrides overrides(quantization, arrays, config_path);
  overrides.require_quantized(arrays, config_path);
  const ExpectedShapes expected = expected_shapes(options, config);

  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = directory;
  checkpoint->container = Container::mlx;
  std::vector<std::pair<std::string, MlxWidth>> narrow_routers;
  for (const auto& [name, array] : arrays) {
    const std::string path = name.substr(0, name.rfind('.'));
    if (!arrays.contains(path + ".scales")) {
      checkpoint->tensors.push_back(unpacked_tensor(name, path, array));
    } else if (is_companion(name)) {
      require_weight(arrays, path);
    } else if (!name.ends_with(".weight")) {
      checkpoint->tensors.push_back(plain_tensor(name, array));  // the module's ordinary bias
    } else {
      const PackedModule module = collect_module(arrays, path);
      const MlxWidth width = settle_width(module, overrides.width_of(module, quantization.top), expected);
      if (path.ends_with(".mlp.gate") && width.bits < 8) narrow_routers.emplace_back(path, width);
      checkpoint->tensors.push_back(packed_tensor(module, width));
    }
  }
  warn_about_routers(narrow_routers, *checkpoint);
  checkpoint->config = std::move(config);
  checkpoint->sidecars = std::move(sidecars);
  checkpoint->files = std::move(weights.files);
  return checkpoint;
}

}  // namespace assay
