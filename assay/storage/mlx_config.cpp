#include "assay/storage/mlx_config.h"

#include <array>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::array kModes = {MlxMode::affine, MlxMode::mxfp4, MlxMode::mxfp8, MlxMode::nvfp4};

MlxWidth default_width(MlxMode mode) {
  switch (mode) {
    case MlxMode::affine:
      return {mode, 64, 4};
    case MlxMode::mxfp4:
      return {mode, 32, 4};
    case MlxMode::mxfp8:
      return {mode, 32, 8};
    case MlxMode::nvfp4:
      return {mode, 16, 4};
  }
  return {};
}

/// The object itself, or null.
const Json* find_quantization(const Json& config) {
  const auto object_at = [](const Json& level, const char* key) -> const Json* {
    const auto found = level.is_object() ? level.find(key) : level.end();
    return level.is_object() && found != level.end() && found->is_object() ? &*found : nullptr;
  };
  const auto in_level = [&](const Json& level) -> const Json* {
    if (const Json* own = object_at(level, "quantization")) return own;
    const Json* shared_key = object_at(level, "quantization_config");
    return shared_key != nullptr && !shared_key->contains("quant_method") ? shared_key : nullptr;
  };
  if (const Json* top = in_level(config)) return top;
  const Json* text = object_at(config, "text_config");
  return text != nullptr ? in_level(*text) : nullptr;
}

MlxMode parse_mode(const std::string& name, const std::string& where) {
  for (const MlxMode mode : kModes)
    if (mlx_mode_name(mode) == name) return mode;
  fail("{}: mode \"{}\"; affine, mxfp4, mxfp8 or nvfp4 expected", where, name);
}

MlxWidth parse_width(const Json& object, const std::string& where) {
  const MlxMode mode = parse_mode(json_get_or<std::string>(object, "mode", "affine", where), where);
  MlxWidth width = default_width(mode);
  width.group = json_get_or<std::uint64_t>(object, "group_size", width.group, where);
  width.bits = json_get_or<std::uint64_t>(object, "bits", width.bits, where);
  if (!mlx_width_exists(width))
    fail("{}: {}, which MLX does not have (affine: 1, 2, 3, 4, 5, 6, 8 bits, groups 32, 64, 128)", where,
         mlx_width_text(width));
  return width;
}

}  // namespace

std::string_view mlx_mode_name(MlxMode mode) {
  switch (mode) {
    case MlxMode::affine:
      return "affine";
    case MlxMode::mxfp4:
      return "mxfp4";
    case MlxMode::mxfp8:
      return "mxfp8";
    case MlxMode::nvfp4:
      return "nvfp4";
  }
  return "";
}

std::string mlx_width_text(const MlxWidth& width) {
  const std::string text = fmt::format("{} bits group {}", width.bits, width.group);
  return width.mode == MlxMode::affine ? text : fmt::format("{} {}", mlx_mode_name(width.mode), text);
}

bool mlx_width_exists(const MlxWidth& width) {
  if (width.mode != MlxMode::affine) return width == default_width(width.mode);
  const bool group = width.group == 32 || width.group == 64 || width.group == 128;
  return group && width.bits >= 1 && width.bits <= 8 && width.bits != 7;
}

bool has_mlx_quantization(const Json& config) {
  return find_quantization(config) != nullptr;
}

MlxQuantization parse_mlx_quantization(const Json& config, const std::string& origin) {
  MlxQuantization quantization;
  const Json* object = find_quantization(config);
  if (object == nullptr) return quantization;
  const std::string where = origin + ": quantization";
  if (object->contains("quant_method"))
    fail("{}: quantised by {}, which is not MLX's scheme", where, (*object)["quant_method"].dump());
  if (object->contains("group_size") || object->contains("bits") || object->contains("mode"))
    quantization.top = parse_width(*object, where);
  for (const auto& [module, value] : object->items()) {
    const std::string entry = fmt::format("{} of {}", where, module);
    if (value.is_object())
      quantization.overrides.emplace(module, parse_width(value, entry));
    else if (value.is_boolean() && !value.get<bool>())
      quantization.overrides.emplace(module, std::nullopt);
    else if (value.is_boolean() && !quantization.top)
      fail("{}: true, but there is no width at the top level", entry);
    else if (value.is_boolean())
      quantization.overrides.emplace(module, quantization.top);
  }
  return quantization;
}

}  // namespace assay
