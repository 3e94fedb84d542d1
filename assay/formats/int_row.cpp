#include "assay/formats/int_row.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "assay/base/bit_stream.h"
#include "assay/base/error.h"
#include "assay/formats/affine_format.h"
#include "assay/formats/finite.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/signed_byte.h"
#include "assay/formats/statistics.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

// Of a sample (divisor n - 1); 0 for one value. Two passes in double, so a large mean cancels exactly.
double standard_deviation(std::span<const float> row) {
  if (row.size() < 2) return 0.0;
  const double n = static_cast<double>(row.size());
  double sum = 0.0;
  for (const float w : row) sum += static_cast<double>(w);
  const double mean = sum / n;
  double squares = 0.0;
  for (const float w : row) squares += (static_cast<double>(w) - mean) * (static_cast<double>(w) - mean);
  return std::sqrt(squares / (n - 1.0));
}

/// torch.quantile: linear between the two magnitudes around the rank.
float quantile_of_magnitudes(std::span<const float> row, double quantile) {
  std::vector<float> magnitudes(row.size());
  std::ranges::transform(row, magnitudes.begin(), [](float w) { return std::fabs(w); });
  const double rank = quantile * static_cast<double>(row.size() - 1);
  const auto below = magnitudes.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(magnitudes.begin(), below, magnitudes.end());
  if (below + 1 == magnitudes.end()) return *below;
  const double low = *below, high = *std::min_element(below + 1, magnitudes.end());
  return static_cast<float>(low + (rank - std::floor(rank)) * (high - low));
}

ASSAY_LOOP void quantise_row_loop(float scale, float largest, const float* row, std::size_t n, Code* codes) {
  for (std::size_t i = 0; i < n; ++i) codes[i] = round_half_even(clamp(row[i] / scale, -largest, largest));
}
constexpr Multiversion<quantise_row_loop> quantise_row;

AffineView view_of(const IntRowOptions& options) {
  const Code largest = (1 << (options.bits - 1)) - 1;
  return {.searchable = options.clip == ClipRule::absmax, .first_code = -largest, .codes = 2 * largest + 1};
}

class IntRowFormat final : public AffineFormat {
 public:
  explicit IntRowFormat(const IntRowOptions& options)
      : AffineFormat(view_of(options), {.dtype = options.scale, .positive_scale = true}), options_(options) {}

  std::string name() const override { return name_with_scale(options_.scale); }

  std::string summary() const override {
    if (options_.clip == ClipRule::golf)
      return "8-bit integers as parameter-golf's baseline exports them, for parity only; Assay";
    const std::string clip = options_.clip == ClipRule::absmax
                                 ? "largest magnitude"
                                 : fmt::format("{} standard deviations", default_deviations(options_.bits));
    return fmt::format("{}-bit integers, one {} scale a row from its {}{}; Assay", options_.bits,
                       parameter_suffix(options_.scale), clip,
                       options_.cells && options_.bits < 8 ? ", in 8-bit cells" : "");
  }

  Layout layout(std::uint64_t columns) const override {
    const std::size_t run = static_cast<std::size_t>(columns);
    return {Share::row,
            run,
            true,
            1,
            {{"weight", options_.cells ? DType::I8 : DType::U8, row_bytes(run)},
             {"scales", options_.scale, dtype_size(options_.scale)}}};
  }

  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override {
    if (params.empty()) return;
    assert(codes.size() == weights.size() && weights.size() % params.size() == 0);
    demand_finite(weights);
    const std::size_t columns = weights.size() / params.size();
    for (std::size_t i = 0; i < params.size(); ++i) {
      const auto row = weights.subspan(i * columns, columns);
      if (options_.clip == ClipRule::golf) {
        const float clip = quantile_of_magnitudes(row, kGolfQuantile);
        const float scale = std::max(clip, 1.0f) / largest_code();
        params[i] = {stored("scale", scale, i * columns), 0.0f};
        std::vector<float> clipped(row.begin(), row.end());
        for (float& w : clipped) w = clamp(w, -clip, clip);
        quantise_row(scale, largest_code(), clipped.data(), columns, codes.data() + i * columns);
        continue;
      }
      params[i] = {row_scale(row, i), 0.0f};
      quantise_row(params[i].scale, largest_code(), row.data(), columns, codes.data() + i * columns);
    }
  }

  void pack(std::span<const Params> params, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override {
    if (params.empty()) return;
    const std::size_t columns = codes.size() / params.size(), bytes = row_bytes(columns);
    assert(planes.size() == 2 && planes[0].size() == params.size() * bytes);
    const std::size_t scale_bytes = dtype_size(options_.scale);
    for (std::size_t i = 0; i < params.size(); ++i) {
      pack_row(codes.subspan(i * columns, columns), planes[0].subspan(i * bytes, bytes));
      write_float(options_.scale, params[i].scale, planes[1].data() + i * scale_bytes);
    }
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    if (params.empty()) return;
    const std::size_t columns = codes.size() / params.size(), bytes = row_bytes(columns);
    assert(planes.size() == 2 && planes[0].size() == params.size() * bytes);
    const std::size_t scale_bytes = dtype_size(options_.scale);
    for (std::size_t i = 0; i < params.size(); ++i) {
      params[i] = {read_float(options_.scale, planes[1].data() + i * scale_bytes), 0.0f};
      unpack_row(planes[0].subspan(i * bytes, bytes), codes.subspan(i * columns, columns), i);
    }
  }

 private:
  static constexpr double kGolfQuantile = 0.9999984;
  static constexpr std::size_t kBatch = 512;  // a multiple of 8, so that every batch fills whole bytes

  Code offset() const { return 1 << (options_.bits - 1); }
  float largest_code() const { return static_cast<float>(offset() - 1); }

  std::string name_with_scale(DType scale) const {
    if (options_.clip == ClipRule::golf) return "int8-golf";
    return fmt::format("int{}-row{}{}{}", options_.bits, options_.clip == ClipRule::absmax ? "" : "-sdclip",
                       options_.cells && options_.bits < 8 ? "-i8" : "", scale == DType::F16 ? "" : "-f32");
  }

  // Without the overflow of columns * bits: eights of codes fill `bits` bytes each.
  std::size_t row_bytes(std::size_t columns) const {
    if (options_.cells) return columns;
    const std::size_t bits = static_cast<std::size_t>(options_.bits);
    return columns / 8 * bits + (columns % 8 * bits + 7) / 8;
  }

  float row_scale(std::span<const float> row, std::size_t index) const {
    const float largest = largest_magnitude(row.data(), row.size());
    if (largest == 0.0f) return 1.0f;
    float clip = largest;
    if (options_.clip == ClipRule::standard_deviations) {
      const double deviation = standard_deviation(row);
      if (deviation > 0.0) clip = static_cast<float>(default_deviations(options_.bits) * deviation);
    }
    const float scale = through(options_.scale, clip / largest_code());
    if (!std::isfinite(scale) || !(scale > 0.0f))
      fail("row {} (from element {}): scale {} does not fit {}; use {}", index, index * row.size(),
           clip / largest_code(), dtype_name(options_.scale),
           options_.scale == DType::F16 ? name_with_scale(DType::F32) : "bf16 or f32 for this tensor");
    return scale;
  }

  void pack_row(std::span<const Code> codes, MutableBytes bytes) const {
    if (options_.cells) {
      for (std::size_t i = 0; i < codes.size(); ++i) bytes[i] = static_cast<std::byte>(codes[i]);
      return;
    }
    std::array<Code, kBatch> shifted;
    for (std::size_t start = 0; start < codes.size(); start += kBatch) {
      const std::size_t n = std::min(kBatch, codes.size() - start);
      for (std::size_t i = 0; i < n; ++i) shifted[i] = codes[start + i] + offset();
      pack_bits({shifted.data(), n}, options_.bits, bytes.subspan(row_bytes(start), row_bytes(n)));
    }
  }

  void unpack_row(Bytes bytes, std::span<Code> codes, std::size_t index) const {
    if (options_.cells) {
      for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = sign_extended(bytes[i]);
      return;
    }
    unpack_bits(bytes, options_.bits, codes);
    for (Code& code : codes) code -= offset();
    const std::size_t used = codes.size() % 8 * static_cast<std::size_t>(options_.bits) % 8;
    if (used != 0 && std::to_integer<unsigned>(bytes.back()) >> used != 0)
      fail("row {}: the unused bits of its last byte are not zero; the file is damaged", index);
  }

  IntRowOptions options_;
};

}  // namespace

double default_deviations(int bits) {
  constexpr std::array<double, 6> kFromThreeBits = {1.95, 2.47, 2.90, 12.85, 14.5, 20.0};
  assert(bits >= 3 && bits <= 8);
  return kFromThreeBits[static_cast<std::size_t>(bits - 3)];
}

FormatPtr int_row_format(const IntRowOptions& options) {
  IntRowOptions natural = options;
  natural.cells = options.cells || options.bits == 8;
  return std::make_shared<IntRowFormat>(natural);
}

FormatPtr int8_golf_format() {
  return int_row_format({.bits = 8, .clip = ClipRule::golf});
}

std::vector<FormatPtr> int_row_formats() {
  std::vector<FormatPtr> formats;
  for (const int bits : {8, 7, 6, 5, 4, 3})
    for (const ClipRule clip : {ClipRule::absmax, ClipRule::standard_deviations})
      for (const DType scale : {DType::F16, DType::F32})
        for (const bool cells : {false, true})
          if (!cells || bits < 8)
            formats.push_back(int_row_format({.bits = bits, .clip = clip, .cells = cells, .scale = scale}));
  return formats;
}

}  // namespace assay
