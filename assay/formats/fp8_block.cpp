#include "assay/formats/fp8_block.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numeric>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/e4m3.h"
#include "assay/formats/stored_float.h"
#include "assay/formats/stored_scheme.h"
#include "assay/formats/table.h"

namespace assay {
namespace {

constexpr std::uint64_t kBlock = 128;
constexpr std::string_view kCodes = "weight", kScales = "weight_scale_inv";
constexpr std::array kSuffixes = {kCodes, kScales};

extern const StoredScheme kFp8Scheme;

class Fp8BlockFormat final : public Format {
 public:
  explicit Fp8BlockFormat(DType scale) : scale_(scale) {}

  std::string name() const override { return fmt::format("fp8-b128-{}", parameter_suffix(scale_)); }
  std::string summary() const override {
    return fmt::format("E4M3 with one {} scale a block of 128 x 128, 8.0 bits; FP8, read only",
                       parameter_suffix(scale_));
  }
  bool can_encode() const override { return false; }
  const StoredScheme* scheme() const override { return &kFp8Scheme; }

  // The longest run that neither a border of blocks nor the end of a row cuts.
  Layout layout(std::uint64_t columns) const override {
    const auto run = static_cast<std::size_t>(std::gcd(kBlock, columns));
    return {Share::block,
            run,
            true,
            1,
            {{"weight", DType::F8_E4M3, run}, {"scale_inv", scale_, dtype_size(scale_), true}},
            {kBlock, kBlock}};
  }

  bool valid(const Params& params, std::span<const Code> codes, std::string* why) const override {
    if (!std::isfinite(params.scale)) {
      *why = fmt::format("scale {} is not finite", params.scale);
      return false;
    }
    for (std::size_t i = 0; i < codes.size(); ++i)
      if (codes[i] < 0 || codes[i] > 0xFF || (codes[i] & 0x7F) == 0x7F) {
        *why = fmt::format("code {:#x} of element {} is not a number", codes[i], i);
        return false;
      }
    return true;
  }

  void decode(std::span<const Params> params, std::span<const Code> codes,
              std::span<float> out) const override {
    if (params.empty()) return;
    assert(codes.size() % params.size() == 0 && out.size() == codes.size());
    const std::size_t run = codes.size() / params.size();
    const float* elements = e4m3_values().data();
    for (std::size_t u = 0; u < params.size(); ++u)
      for (std::size_t i = u * run; i < (u + 1) * run; ++i) out[i] = elements[codes[i]] * params[u].scale;
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 2 && planes[0].size() == codes.size());
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = std::to_integer<Code>(planes[0][i]);
    for (std::size_t i = 0; i < params.size(); ++i)
      params[i] = {read_float(scale_, planes[1].data() + i * dtype_size(scale_)), 0.0f};
  }

  std::pair<float, float> range(const Params& params) const override {
    const float reach = std::fabs(448.0f * params.scale);
    return {-reach, reach};
  }

 private:
  DType scale_;
};

void check_fp8(const Json& config) {
  const std::string where = "quantization_config";
  const auto block = config.find("weight_block_size");
  if (block == config.end() || *block != Json::array({kBlock, kBlock}))
    fail("weight_block_size is {}; [128, 128] expected", block == config.end() ? "absent" : block->dump());
  const auto numbers = json_get_or<std::string>(config, "fmt", "e4m3", where);
  if (numbers != "e4m3") fail("fmt \"{}\"; e4m3 expected", numbers);
  const auto activations = json_get_or<std::string>(config, "activation_scheme", "dynamic", where);
  if (activations != "dynamic") fail("activation_scheme \"{}\"; dynamic expected", activations);
}

std::optional<bool> fp8_left_plain(const Json& config, std::string_view module) {
  for (const char* key : {"modules_to_not_convert", "ignored_layers"}) {
    const auto listed = list_names_module(config, key, module);
    if (listed.value_or(true)) return listed;
  }
  if (is_projection(module)) return false;
  return std::nullopt;
}

SchemeMatrix fp8_matrix(const Json& /*config*/, const SchemeArrays& arrays) {
  constexpr std::array kBytes = {DType::F8_E4M3};
  constexpr std::array kFloats = {DType::F32, DType::BF16};
  const SchemeArray &codes = demand_matrix(arrays, kCodes, kBytes),
                    &scales = demand_matrix(arrays, kScales, kFloats);
  SchemeMatrix matrix;
  matrix.rows = codes.shape[0];
  matrix.columns = codes.shape[1];
  demand_shape(scales, kScales, ceil_divide(matrix.rows, kBlock), ceil_divide(matrix.columns, kBlock));
  matrix.format = find_format(fmt::format("fp8-b128-{}", parameter_suffix(scales.dtype)));
  matrix.arrays = {kCodes, kScales};
  return matrix;
}

constexpr StoredScheme kFp8Scheme = {.method = "fp8",
                                     .reads = "fp8 (e4m3, weight_block_size [128, 128])",
                                     .marker = kScales,
                                     .suffixes = kSuffixes,
                                     .check = check_fp8,
                                     .left_plain = fp8_left_plain,
                                     .matrix = fp8_matrix};

}  // namespace

std::vector<FormatPtr> fp8_block_formats() {
  std::vector<FormatPtr> formats;
  for (const DType scale : {DType::F32, DType::BF16})
    formats.push_back(std::make_shared<Fp8BlockFormat>(scale));
  return formats;
}

}  // namespace assay
