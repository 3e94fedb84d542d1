#include "assay/formats/compressed_tensors.h"

#include <algorithm>
#include <array>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/stored_float.h"
#include "assay/formats/stored_scheme.h"
#include "assay/formats/table.h"
#include "assay/formats/zero_point_format.h"

namespace assay {
namespace {

constexpr std::array kBits = {2, 4, 8};
constexpr std::array<std::size_t, 4> kGroups = {32, 64, 128, 0};
constexpr std::string_view kCodes = "weight_packed", kScales = "weight_scale", kZeros = "weight_zero_point",
                           kShape = "weight_shape", kGroupIndex = "weight_g_idx";
constexpr std::array kSuffixes = {kCodes, kScales, kZeros, kShape, kGroupIndex, std::string_view("weight")};
constexpr std::string_view kPacked = "pack-quantized";
constexpr std::uint64_t kWordBits = 32;
const std::string kWhere = "quantization_config";

extern const StoredScheme kPackQuantizedScheme;

class CompressedTensorsFormat final : public ZeroPointFormat {
 public:
  explicit CompressedTensorsFormat(const ZeroPointTraits& traits) : ZeroPointFormat(traits) {}

  std::string name() const override {
    return fmt::format("ct{}{}-{}-{}", traits().bits, traits().stored_zeros ? "-zp" : "", group_name(),
                       parameter_suffix(traits().scale));
  }
  std::string summary() const override {
    return fmt::format("{}-bit {}, {} scale{}; compressed-tensors, read only", traits().bits, group_text(),
                       parameter_suffix(traits().scale), traits().stored_zeros ? " and zero point" : "");
  }
  const StoredScheme* scheme() const override { return &kPackQuantizedScheme; }
};

/// What one entry of "config_groups" says of weights.
struct WeightArguments {
  std::uint64_t bits = 0, group = 0;  // 0: the whole row
  bool symmetric = true;

  std::string text() const {
    return fmt::format("{} bits, {}, {}", bits, group == 0 ? "channel" : fmt::format("groups of {}", group),
                       symmetric ? "symmetric" : "with zero points");
  }
};

WeightArguments arguments_of(const Json& entry, const std::string& where) {
  const auto found = entry.find("weights");
  if (found == entry.end() || !found->is_object()) fail("{}: no object \"weights\"", where);
  const Json& weights = *found;
  WeightArguments arguments{.bits = json_get<std::uint64_t>(weights, "num_bits", where),
                            .symmetric = json_get_or<bool>(weights, "symmetric", true, where)};
  if (std::ranges::find(kBits, static_cast<int>(arguments.bits)) == kBits.end())
    fail("{}: {} bits; 2, 4 or 8 expected", where, arguments.bits);
  const auto type = json_get_or<std::string>(weights, "type", "int", where),
             strategy = json_get_or<std::string>(weights, "strategy", "group", where);
  if (type != "int") fail("{}: weights of type \"{}\"; int expected", where, type);
  if (strategy == "group")
    arguments.group = json_get<std::uint64_t>(weights, "group_size", where);
  else if (strategy != "channel")
    fail("{}: strategy \"{}\"; group or channel expected", where, strategy);
  const auto group = static_cast<std::size_t>(arguments.group);
  if (strategy == "group" && (group == 0 || std::ranges::find(kGroups, group) == kGroups.end()))
    fail("{}: groups of {}; 32, 64 or 128 expected", where, arguments.group);
  return arguments;
}

const Json& groups_of(const Json& config) {
  const auto groups = config.find("config_groups");
  if (groups == config.end() || !groups->is_object() || groups->empty())
    fail("no object \"config_groups\" that says how weights are packed");
  return *groups;
}

/// Both would change what the model computes.
void refuse_transforms(const Json& config) {
  const auto transform = config.find("transform_config");
  if (transform != config.end() && transform->is_object() && !transform->empty())
    fail("it has a \"transform_config\", which is not read");
  const auto sparsity = config.find("sparsity_config");
  if (sparsity == config.end() || !sparsity->is_object() || sparsity->empty()) return;
  const auto format = json_get_or<std::string>(*sparsity, "format", "dense", kWhere);
  if (format != "dense") fail("weights are sparse (\"{}\"); dense expected", format);
}

void check_pack_quantized(const Json& config) {
  refuse_transforms(config);
  const auto whole = json_get_or<std::string>(config, "format", "", kWhere);
  for (const auto& [name, entry] : groups_of(config).items()) {
    const std::string where = fmt::format("config_groups {}", name);
    if (!entry.is_object()) fail("{} is {}, an object expected", where, entry.type_name());
    const auto format = json_get_or<std::string>(entry, "format", whole, where);
    if (format != kPacked) fail("format \"{}\"; {} expected", format, kPacked);
    const auto inputs = entry.find("input_activations");
    if (inputs != entry.end() && !inputs->is_null())
      fail("{}: it quantises activations as well, which is not done here", where);
    arguments_of(entry, where);
  }
}

/// Is the module a target of some group: "Linear", a name or an expression?
std::optional<bool> is_target(const Json& config, std::string_view module) {
  std::optional<bool> any = false;
  for (const auto& [name, entry] : groups_of(config).items()) {
    const auto targets = entry.find("targets");
    if (targets == entry.end() || !targets->is_array()) return std::nullopt;
    if (std::ranges::find(*targets, "Linear") != targets->end()) return true;
    const auto named = list_names_module(entry, "targets", module);
    if (named.value_or(false)) return true;
    if (!named) any = std::nullopt;
  }
  return any;
}

std::optional<bool> ct_left_plain(const Json& config, std::string_view module) {
  const auto ignored = list_names_module(config, "ignore", module);
  if (ignored.value_or(true)) return ignored;
  if (!is_projection(module) && !names_module("lm_head", module)) return std::nullopt;
  const auto target = is_target(config, module);
  return target ? std::optional(!*target) : std::nullopt;
}

/// [N, K] as "weight_shape" says.
std::pair<std::uint64_t, std::uint64_t> logical_shape(const SchemeArrays& arrays, std::uint64_t rows) {
  const auto found = arrays.find(kShape);
  if (found == arrays.end()) fail("there is no .{}", kShape);
  const SchemeArray& array = found->second;
  const bool wide = array.dtype == DType::I64;
  if ((!wide && array.dtype != DType::I32) || array.shape != std::vector<std::uint64_t>{2})
    fail(".{} is {} of {} axes; I64 [2] expected", kShape, dtype_name(array.dtype), array.shape.size());
  const auto at = [&](std::size_t i) {
    return wide ? load<std::int64_t>(array.bytes.data() + 8 * i)
                : std::int64_t{load<std::int32_t>(array.bytes.data() + 4 * i)};
  };
  if (at(0) < 0 || static_cast<std::uint64_t>(at(0)) != rows || at(1) <= 0)
    fail(".{} says [{}, {}], but .{} has {} rows", kShape, at(0), at(1), kCodes, rows);
  return {rows, static_cast<std::uint64_t>(at(1))};
}

/// The configured group whose arguments the shapes have.
WeightArguments settle_arguments(const Json& config, std::uint64_t columns, std::uint64_t words,
                                 std::uint64_t groups, bool symmetric) {
  std::string choices;
  for (const auto& [name, entry] : groups_of(config).items()) {
    const WeightArguments arguments = arguments_of(entry, name);
    const auto bits = checked_multiply(columns, arguments.bits);
    const bool same_groups = arguments.group == 0
                                 ? groups == 1
                                 : columns % arguments.group == 0 && columns / arguments.group == groups;
    if (bits && ceil_divide(*bits, kWordBits) == words && same_groups && arguments.symmetric == symmetric)
      return arguments;
    choices += fmt::format("{}{}", choices.empty() ? "" : "; ", arguments.text());
  }
  fail("{} words and {} groups for {} columns, {}: not what quantization_config says ({})", words, groups,
       columns, symmetric ? "no zero points" : "zero points", choices);
}

bool is_unset(const SchemeArray& index) {
  for (std::size_t at = 0; at < index.bytes.size(); at += sizeof(std::int32_t))
    if (load<std::int32_t>(index.bytes.data() + at) != -1) return false;
  return index.dtype == DType::I32;
}

SchemeMatrix ct_matrix(const Json& config, const SchemeArrays& arrays) {
  constexpr std::array kWords = {DType::I32};
  constexpr std::array kFloats = {DType::F16, DType::BF16, DType::F32};
  const SchemeArray &codes = demand_matrix(arrays, kCodes, kWords),
                    &scales = demand_matrix(arrays, kScales, kFloats);
  if (arrays.contains("weight")) fail("there are both .weight and .{}", kCodes);
  SchemeMatrix matrix;
  std::tie(matrix.rows, matrix.columns) = logical_shape(arrays, codes.shape[0]);
  const std::uint64_t groups = scales.shape[1];
  demand_shape(scales, kScales, matrix.rows, groups);
  const bool symmetric = !arrays.contains(kZeros);
  const WeightArguments arguments =
      settle_arguments(config, matrix.columns, codes.shape[1], groups, symmetric);
  matrix.format = find_format(fmt::format("ct{}{}-{}-{}", arguments.bits, symmetric ? "" : "-zp",
                                          arguments.group == 0 ? "row" : fmt::format("g{}", arguments.group),
                                          parameter_suffix(scales.dtype)));
  matrix.arrays = {kCodes, kScales};
  if (!symmetric) {
    const SchemeArray& zeros = demand_matrix(arrays, kZeros, kWords);
    demand_shape(zeros, kZeros, ceil_divide(matrix.rows * arguments.bits, kWordBits), groups);
    matrix.arrays.push_back(kZeros);
    matrix.stored.planes = {{}, {}, {.packed_bits = static_cast<int>(arguments.bits)}};
  }
  const auto index = arrays.find(kGroupIndex);
  if (index != arrays.end() && !is_unset(index->second))
    matrix.stored.columns = columns_by_group(index->second, kGroupIndex, matrix.columns, groups);
  return matrix;
}

constexpr StoredScheme kPackQuantizedScheme = {
    .method = "compressed-tensors",
    .reads = "compressed-tensors (pack-quantized, 2, 4 and 8 bits)",
    .marker = kCodes,
    .suffixes = kSuffixes,
    .check = check_pack_quantized,
    .left_plain = ct_left_plain,
    .matrix = ct_matrix};

}  // namespace

std::vector<FormatPtr> compressed_tensors_formats() {
  std::vector<FormatPtr> formats;
  for (const bool zeros : {false, true})
    for (const int bits : kBits)
      for (const std::size_t group : kGroups)
        for (const DType scale : {DType::F16, DType::BF16, DType::F32})
          formats.push_back(std::make_shared<CompressedTensorsFormat>(
              ZeroPointTraits{.bits = bits, .group = group, .scale = scale, .stored_zeros = zeros}));
  return formats;
}

}  // namespace assay
