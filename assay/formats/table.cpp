#include "assay/formats/table.h"

#include <algorithm>

#include "assay/base/error.h"
#include "assay/formats/block_affine.h"
#include "assay/formats/compressed_tensors.h"
#include "assay/formats/floats.h"
#include "assay/formats/fp8_block.h"
#include "assay/formats/gf16.h"
#include "assay/formats/gguf_blocks.h"
#include "assay/formats/gguf_superblocks.h"
#include "assay/formats/gptq.h"
#include "assay/formats/int_row.h"
#include "assay/formats/kh.h"
#include "assay/formats/mlx_affine.h"
#include "assay/formats/mlx_float.h"

namespace assay {
namespace {

std::vector<FormatPtr> build_table() {
  std::vector<FormatPtr> table = {
      f32_format(),  f16_format(),  bf16_format(),           khf1_format(),
      gf16_format(), khq4_format(), khq4_symmetric_format(), khq4_v1_format(),
      khw3_format(), khq3_format(), khq3_symmetric_format(), q8_0_format(),
      q4_0_format(), q4_1_format(),
  };
  for (FormatPtr& format : gguf_superblock_formats()) table.push_back(std::move(format));
  for (FormatPtr& format : mlx_affine_formats()) table.push_back(std::move(format));
  for (const FormatPtr& format : {mxfp4_format(), mxfp8_format(), nvfp4_format()}) table.push_back(format);
  for (FormatPtr& format : int_row_formats()) table.push_back(std::move(format));
  table.push_back(int8_golf_format());
  for (FormatPtr& format : block_affine_formats()) table.push_back(std::move(format));
  for (FormatPtr& format : gptq_formats()) table.push_back(std::move(format));
  for (FormatPtr& format : compressed_tensors_formats()) table.push_back(std::move(format));
  for (FormatPtr& format : fp8_block_formats()) table.push_back(std::move(format));
  return table;
}

// Levenshtein distance: typing errors away.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::string close_names(std::string_view name) {
  constexpr std::string_view kTyped = "-bf16";
  std::vector<std::pair<std::size_t, std::string>> ranked;
  for (const FormatPtr& format : all_formats()) {
    const std::string full = format->name();
    ranked.emplace_back(distance(name, full), full);
    if (!full.ends_with(kTyped)) continue;
    const std::string family = full.substr(0, full.size() - kTyped.size());
    ranked.emplace_back(distance(name, family), family);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  constexpr std::size_t kShown = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, ranked.size()); ++i)
    text += (i > 0 ? ", " : "") + ranked[i].second;
  return text;
}

// Packed sources (GGUF blocks) carry f16 parameters, so f16 is what follows them.
std::string_view parameter_type(DType source) {
  if (source == DType::BF16) return "bf16";
  return source == DType::F32 || source == DType::F64 ? "f32" : "f16";
}

}  // namespace

const std::vector<FormatPtr>& all_formats() {
  static const std::vector<FormatPtr> table = build_table();
  return table;
}

FormatPtr find_format(std::string_view name) {
  for (const FormatPtr& format : all_formats())
    if (format->name() == name) return format;
  return nullptr;
}

FormatPtr resolve_format(std::string_view name, DType source) {
  if (FormatPtr exact = find_format(name)) return exact;
  if (FormatPtr typed = find_format(fmt::format("{}-{}", name, parameter_type(source)))) return typed;
  fail("no format is called \"{}\"; close names: {} (`assay formats` lists all)", name, close_names(name));
}

}  // namespace assay
