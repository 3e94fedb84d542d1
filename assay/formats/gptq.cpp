#include "assay/formats/gptq.h"

#include <algorithm>
#include <array>

#include "assay/base/error.h"
#include "assay/formats/stored_float.h"
#include "assay/formats/stored_scheme.h"
#include "assay/formats/table.h"
#include "assay/formats/zero_point_format.h"

namespace assay {
namespace {

constexpr std::array kBits = {2, 3, 4, 8};
constexpr std::array<std::size_t, 4> kGroups = {32, 64, 128, 0};
constexpr std::string_view kCodes = "qweight", kScales = "scales", kZeros = "qzeros", kGroupIndex = "g_idx";
constexpr std::array kSuffixes = {kCodes, kScales, kZeros, kGroupIndex, std::string_view("weight")};
constexpr std::uint64_t kWordBits = 32;

extern const StoredScheme kGptqScheme;

class GptqFormat final : public ZeroPointFormat {
 public:
  GptqFormat(const ZeroPointTraits& traits, bool second)
      : ZeroPointFormat(traits), version_(second ? "-v2" : "") {}

  std::string name() const override {
    return fmt::format("gptq{}{}-{}-{}", traits().bits, version_, group_name(),
                       parameter_suffix(traits().scale));
  }
  std::string summary() const override {
    return fmt::format("{}-bit {}, {} scale and zero point{}; GPTQ, read only", traits().bits, group_text(),
                       parameter_suffix(traits().scale), version_.empty() ? " stored minus one" : "");
  }
  const StoredScheme* scheme() const override { return &kGptqScheme; }

 private:
  std::string version_;
};

bool is_second(const Json& config) {
  return json_get_or<std::string>(config, "checkpoint_format", "gptq", "checkpoint_format") == "gptq_v2";
}

/// "dynamic": expressions with widths of their own ("+:") or left plain ("-:").
const Json* exceptions_of(const Json& config) {
  const auto found = config.find("dynamic");
  return found != config.end() && found->is_object() && !found->empty() ? &*found : nullptr;
}

void check_gptq(const Json& config) {
  const std::string where = "quantization_config";
  const auto bits = json_get<std::uint64_t>(config, "bits", where);
  if (std::ranges::find(kBits, static_cast<int>(bits)) == kBits.end())
    fail("{} bits; 2, 3, 4 or 8 expected", bits);
  const auto layout = json_get_or<std::string>(config, "checkpoint_format", "gptq", where);
  if (layout != "gptq" && layout != "gptq_v2")
    fail("checkpoint_format \"{}\"; gptq or gptq_v2 expected", layout);
  const auto words = json_get_or<std::string>(config, "pack_dtype", "int32", where);
  if (words != "int32") fail("pack_dtype \"{}\"; int32 expected", words);
}

std::optional<bool> gptq_left_plain(const Json& config, std::string_view module) {
  if (const Json* exceptions = exceptions_of(config))
    for (const auto& [expression, value] : exceptions->items()) {
      if (!expression.starts_with("-:")) continue;
      const auto matches = expression_matches(std::string_view(expression).substr(2), module);
      if (matches.value_or(true)) return matches;
    }
  if (names_module("lm_head", module)) return !json_get_or<bool>(config, "lm_head", false, "lm_head");
  const auto listed = config.find("modules_in_block_to_quantize");
  if (listed != config.end() && listed->is_array()) return std::nullopt;
  if (is_projection(module)) return false;
  return std::nullopt;
}

/// From the length of g_idx where there is one, else from the configuration.
int bits_of(const Json& config, const SchemeArrays& arrays, std::uint64_t words) {
  auto bits = json_get<std::uint64_t>(config, "bits", "quantization_config");
  const auto index = arrays.find(kGroupIndex);
  if (index == arrays.end()) return static_cast<int>(bits);
  const std::uint64_t columns = index->second.shape.size() == 1 ? index->second.shape[0] : 0;
  const std::uint64_t stored = columns == 0 ? 0 : words * kWordBits / columns;
  if (columns == 0 || stored * columns != words * kWordBits ||
      std::ranges::find(kBits, static_cast<int>(stored)) == kBits.end())
    fail(".{} of {} columns and {} words of .{} are not 2, 3, 4 or 8 bits a code", kGroupIndex, columns,
         words, kCodes);
  if (stored != bits && exceptions_of(config) == nullptr)
    fail("shapes say {} bits, quantization_config {}", stored, bits);
  return static_cast<int>(stored);
}

std::size_t group_of(const Json& config, std::uint64_t columns, std::uint64_t groups) {
  if (columns % groups != 0) fail("{} groups do not divide {} columns", groups, columns);
  const auto configured = json_get<int>(config, "group_size", "quantization_config");
  const std::uint64_t group = columns / groups;
  const bool agrees = configured == -1 ? groups == 1 : group == static_cast<std::uint64_t>(configured);
  if (!agrees && exceptions_of(config) == nullptr)
    fail("shapes say groups of {}, quantization_config {}", group, configured);
  if (groups == 1 && (configured == -1 || !agrees)) return 0;
  if (std::ranges::find(kGroups, group) == kGroups.end())
    fail("groups of {}; 32, 64, 128 or the whole row (-1) expected", group);
  return static_cast<std::size_t>(group);
}

SchemeMatrix gptq_matrix(const Json& config, const SchemeArrays& arrays) {
  constexpr std::array kWords = {DType::I32};
  constexpr std::array kFloats = {DType::F16, DType::BF16};
  const SchemeArray &codes = demand_matrix(arrays, kCodes, kWords),
                    &scales = demand_matrix(arrays, kScales, kFloats),
                    &zeros = demand_matrix(arrays, kZeros, kWords);
  if (arrays.contains("weight")) fail("there are both .weight and .{}", kCodes);
  SchemeMatrix matrix;
  matrix.rows = codes.shape[1];
  const int bits = bits_of(config, arrays, codes.shape[0]);
  const auto width = static_cast<std::uint64_t>(bits);
  matrix.columns = codes.shape[0] * kWordBits / width;
  if (matrix.columns * width != codes.shape[0] * kWordBits)
    fail("{} words of .{} are no whole number of {}-bit codes", codes.shape[0], kCodes, bits);
  const std::uint64_t groups = scales.shape[0];
  demand_shape(scales, kScales, groups, matrix.rows);
  if (matrix.rows * width % kWordBits != 0)
    fail("{} output features do not fill whole words of {}-bit zero points", matrix.rows, bits);
  demand_shape(zeros, kZeros, groups, matrix.rows * width / kWordBits);
  const std::size_t group = group_of(config, matrix.columns, groups);
  matrix.format = find_format(fmt::format("gptq{}{}-{}-{}", bits, is_second(config) ? "-v2" : "",
                                          group == 0 ? "row" : fmt::format("g{}", group),
                                          parameter_suffix(scales.dtype)));
  matrix.arrays = {kCodes, kScales, kZeros};
  matrix.stored.planes = {
      {.transposed = true}, {.transposed = true}, {.transposed = true, .packed_bits = bits}};
  if (const auto index = arrays.find(kGroupIndex); index != arrays.end())
    matrix.stored.columns = columns_by_group(index->second, kGroupIndex, matrix.columns, groups);
  return matrix;
}

constexpr StoredScheme kGptqScheme = {.method = "gptq",
                                      .reads = "gptq (2, 3, 4 and 8 bits, versions 1 and 2)",
                                      .marker = kCodes,
                                      .suffixes = kSuffixes,
                                      .check = check_gptq,
                                      .left_plain = gptq_left_plain,
                                      .matrix = gptq_matrix};

}  // namespace

std::vector<FormatPtr> gptq_formats() {
  std::vector<FormatPtr> formats;
  for (const bool second : {false, true})
    for (const int bits : kBits)
      for (const std::size_t group : kGroups)
        for (const DType scale : {DType::F16, DType::BF16})
          formats.push_back(std::make_shared<GptqFormat>(
              ZeroPointTraits{.bits = bits, .group = group, .scale = scale, .added_to_zeros = second ? 0 : 1},
              second));
  return formats;
}

}  // namespace assay
