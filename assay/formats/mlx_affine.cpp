#include "assay/formats/mlx_affine.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "assay/base/bit_stream.h"
#include "assay/base/error.h"
#include "assay/formats/affine_format.h"
#include "assay/formats/finite.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/statistics.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

constexpr float kSmallestStep = 1e-7f;  // MLX's eps

// The end of larger magnitude becomes a code's exact value and, unless zero falls on it, the bias; the step
// is then stretched so that 0.0 has a code. Codes use the unrounded step and bias, by division.
ASSAY_LOOP void fit_affine_loop(float levels, std::size_t group, const float* weights, std::size_t units,
                                Params* fits, Code* codes) {
  for (std::size_t unit = 0; unit < units; ++unit, weights += group, codes += group) {
    const Extent extent = extent_of(weights, group);
    const bool low = std::fabs(extent.low) > std::fabs(extent.high);
    const float step = std::max((extent.high - extent.low) / levels, kSmallestStep);
    float scale = low ? step : -step;
    float bias = 0.0f;
    const float edge = low ? extent.low : extent.high;
    const float edge_code = std::nearbyint(edge / scale);
    if (edge_code != 0.0f) {
      scale = edge / edge_code;
      bias = edge;
    }
    fits[unit] = {scale, bias};
    for (std::size_t i = 0; i < group; ++i)
      codes[i] = round_half_even(clamp((weights[i] - bias) / scale, 0.0f, levels));
  }
}
constexpr Multiversion<fit_affine_loop> fit_affine;

// One bit has a fit of its own, minimum and maximum. (MLX's CPU backend rounds the quotient like the other
// widths, which can differ from comparing with the middle by one f32 rounding, and below its smallest step.)
ASSAY_LOOP void fit_one_bit_loop(std::size_t group, const float* weights, std::size_t units, Params* fits,
                                 Code* codes) {
  for (std::size_t unit = 0; unit < units; ++unit, weights += group, codes += group) {
    const Extent extent = extent_of(weights, group);
    const float bias = extent.low == 0.0f ? first_zero(weights, group) : extent.low;
    const float scale = std::max(extent.high - extent.low, kSmallestStep);
    fits[unit] = {scale, bias};
    for (std::size_t i = 0; i < group; ++i)
      codes[i] = round_half_even(clamp((weights[i] - bias) / scale, 0.0f, 1.0f));
  }
}
constexpr Multiversion<fit_one_bit_loop> fit_one_bit;

class MlxAffineFormat final : public AffineFormat {
 public:
  explicit MlxAffineFormat(const MlxAffineOptions& options)
      : AffineFormat({.free_bias = true, .codes = 1 << options.bits},
                     {.dtype = options.parameters, .stored_bias = true}),
        options_(options) {}

  std::string name() const override {
    return fmt::format("mlx{}-g{}-{}", options_.bits, options_.group, parameter_suffix(options_.parameters));
  }

  std::string summary() const override {
    const std::size_t parameter_bits = 16 * dtype_size(options_.parameters);
    return fmt::format(
        "{}-bit groups of {} in a row, {} scale and bias, {} bits; MLX", options_.bits, options_.group,
        parameter_suffix(options_.parameters),
        options_.bits + static_cast<double>(parameter_bits) / static_cast<double>(options_.group));
  }

  Layout layout(std::uint64_t /*columns*/) const override {
    const std::size_t parameter_bytes = dtype_size(options_.parameters);
    return {Share::run_in_row,
            options_.group,
            true,
            1,
            {{"weight", DType::U32, code_bytes()},
             {"scales", options_.parameters, parameter_bytes},
             {"biases", options_.parameters, parameter_bytes}}};
  }

  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override {
    assert(weights.size() == params.size() * options_.group && codes.size() == weights.size());
    demand_finite(weights);
    if (options_.bits == 1)
      fit_one_bit(options_.group, weights.data(), params.size(), params.data(), codes.data());
    else
      fit_affine(static_cast<float>(view().codes - 1), options_.group, weights.data(), params.size(),
                 params.data(), codes.data());
    for (std::size_t i = 0; i < params.size(); ++i)
      params[i] = {stored("scale", params[i].scale, i * options_.group),
                   stored("bias", params[i].bias, i * options_.group)};
  }

  void pack(std::span<const Params> params, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override {
    check_planes(params.size(), planes);
    pack_bits(codes, options_.bits, planes[0]);
    const std::size_t size = dtype_size(options_.parameters);
    for (std::size_t i = 0; i < params.size(); ++i) {
      write_float(options_.parameters, params[i].scale, planes[1].data() + i * size);
      write_float(options_.parameters, params[i].bias, planes[2].data() + i * size);
    }
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    check_planes(params.size(), planes);
    unpack_bits(planes[0], options_.bits, codes);
    const std::size_t size = dtype_size(options_.parameters);
    for (std::size_t i = 0; i < params.size(); ++i)
      params[i] = {read_float(options_.parameters, planes[1].data() + i * size),
                   read_float(options_.parameters, planes[2].data() + i * size)};
  }

 private:
  // A group fills whole bytes at every width, so consecutive groups are one stream.
  std::size_t code_bytes() const { return options_.group * static_cast<std::size_t>(options_.bits) / 8; }

  template <class Planes>
  void check_planes([[maybe_unused]] std::size_t units, [[maybe_unused]] const Planes& planes) const {
    assert(planes.size() == 3 && planes[0].size() == units * code_bytes() &&
           planes[1].size() == units * dtype_size(options_.parameters) &&
           planes[2].size() == planes[1].size());
  }

  MlxAffineOptions options_;
};

}  // namespace

FormatPtr mlx_affine_format(const MlxAffineOptions& options) {
  return std::make_shared<MlxAffineFormat>(options);
}

std::vector<FormatPtr> mlx_affine_formats() {
  std::vector<FormatPtr> formats;
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const std::size_t group : {32, 64, 128})
      for (const DType parameters : {DType::F16, DType::BF16, DType::F32})
        formats.push_back(mlx_affine_format({.bits = bits, .group = group, .parameters = parameters}));
  return formats;
}

}  // namespace assay
