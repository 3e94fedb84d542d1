#pragma once
// The "quantization" object of an MLX checkpoint's config.json: widths at the top level and per module.
// Source: mlx-lm 0.32 (utils.py writes and reads it).
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "assay/base/json.h"

namespace assay {

enum class MlxMode { affine, mxfp4, mxfp8, nvfp4 };
std::string_view mlx_mode_name(MlxMode mode);

/// How the weights of one module are quantised.
struct MlxWidth {
  MlxMode mode = MlxMode::affine;
  std::uint64_t group = 64;
  std::uint64_t bits = 4;
  bool operator==(const MlxWidth&) const = default;
  bool operator<(const MlxWidth& other) const {
    return std::tie(mode, group, bits) < std::tie(other.mode, other.group, other.bits);
  }
};
std::string mlx_width_text(const MlxWidth& width);  // "4 bits group 64", "mxfp4 4 bits group 32"

/// Does MLX have this width: affine with 1, 2, 3, 4, 5, 6, 8 bits and groups of 32, 64, 128, or one of its fp
/// modes?
bool mlx_width_exists(const MlxWidth& width);

struct MlxQuantization {
  std::optional<MlxWidth> top;  // for modules without an override
  /// By module path as the config spells it; nothing means "not quantised".
  std::map<std::string, std::optional<MlxWidth>> overrides;
};

/// Is there such an object: "quantization", or "quantization_config" without "quant_method", at the top level
/// or in "text_config"?
bool has_mlx_quantization(const Json& config);

/// Parses it; an empty result when there is none. An override inherits nothing from the top level: what it
/// leaves out takes the defaults of its own mode. Throws Error for a width that MLX does not have and for
/// foreign schemes.
MlxQuantization parse_mlx_quantization(const Json& config, const std::string& origin);

}  // namespace assay
