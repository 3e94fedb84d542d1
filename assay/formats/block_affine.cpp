#include "assay/formats/block_affine.h"

#include <fmt/core.h>

#include <array>
#include <cassert>

#include "assay/base/bit_stream.h"
#include "assay/formats/affine_format.h"
#include "assay/formats/finite.h"
#include "assay/formats/kh_codes.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/statistics.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

constexpr std::size_t kLargestGroup = 128;

struct Fit {
  float scale, bias;  // as fitted, not yet as stored: codes are chosen with these
};

ASSAY_LOOP Fit fit_group_loop(float levels, const float* weights, std::size_t group, Code* codes) {
  Extent extent = extent_of(weights, group);
  if (extent.low == 0.0f) extent.low = positive_zero_if_any(weights, group);
  const float scale = kh::usable_scale((extent.high - extent.low) / levels);
  const float inverse = 1.0f / scale;
  for (std::size_t i = 0; i < group; ++i)
    codes[i] = round_half_away(clamp((weights[i] - extent.low) * inverse, 0.0f, levels));
  return {scale, extent.low};
}
constexpr Multiversion<fit_group_loop> fit_group;

class BlockAffineFormat final : public AffineFormat {
 public:
  BlockAffineFormat(int bits, std::size_t group, CodeOrder order)
      : AffineFormat({.free_bias = true, .codes = 1 << bits}, {.stored_bias = true, .positive_scale = true}),
        bits_(bits),
        group_(group),
        order_(order) {}

  std::string name() const override {
    return fmt::format("block-affine{}-g{}-{}", bits_, group_,
                       order_ == CodeOrder::stream ? "stream" : "planes");
  }
  std::string summary() const override {
    return fmt::format("{}-bit groups of {}, f16 scale and bias{}; Assay", bits_, group_,
                       order_ == CodeOrder::stream ? "" : ", codes in two bit planes");
  }
  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_in_row, group_, true, 1, {{"weight", DType::U8, block_bytes()}}};
  }

  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override {
    assert(weights.size() == params.size() * group_ && codes.size() == weights.size());
    demand_finite(weights);
    const auto levels = static_cast<float>(view().codes - 1);
    for (std::size_t unit = 0; unit < params.size(); ++unit) {
      const std::size_t first = unit * group_;
      const Fit fit = fit_group(levels, weights.data() + first, group_, codes.data() + first);
      params[unit] = {stored("scale", fit.scale, first), stored("bias", fit.bias, first)};
    }
  }

  void pack(std::span<const Params> params, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * block_bytes());
    for (std::size_t unit = 0; unit < params.size(); ++unit) {
      const MutableBytes block = planes[0].subspan(unit * block_bytes(), block_bytes());
      assay::store(block.data(), f32_to_f16(params[unit].scale));
      assay::store(block.data() + 2, f32_to_f16(params[unit].bias));
      pack_codes(codes.subspan(unit * group_, group_), block.subspan(4));
    }
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * block_bytes());
    for (std::size_t unit = 0; unit < params.size(); ++unit) {
      const Bytes block = planes[0].subspan(unit * block_bytes(), block_bytes());
      params[unit] = {f16_to_f32(load<std::uint16_t>(block.data())),
                      f16_to_f32(load<std::uint16_t>(block.data() + 2))};
      unpack_codes(block.subspan(4), codes.subspan(unit * group_, group_));
    }
  }

 private:
  std::size_t block_bytes() const { return 4 + group_ * static_cast<std::size_t>(bits_) / 8; }

  void pack_codes(std::span<const Code> codes, MutableBytes bytes) const {
    if (order_ == CodeOrder::stream) return pack_bits(codes, bits_, bytes);
    std::array<Code, kLargestGroup> low, high;
    for (std::size_t i = 0; i < group_; ++i) {
      low[i] = codes[i] & 3;
      high[i] = codes[i] >> 2;
    }
    pack_bits({low.data(), group_}, 2, bytes.first(group_ / 4));
    pack_bits({high.data(), group_}, 1, bytes.subspan(group_ / 4));
  }

  void unpack_codes(Bytes bytes, std::span<Code> codes) const {
    if (order_ == CodeOrder::stream) return unpack_bits(bytes, bits_, codes);
    std::array<Code, kLargestGroup> high;
    unpack_bits(bytes.first(group_ / 4), 2, codes);
    unpack_bits(bytes.subspan(group_ / 4), 1, {high.data(), group_});
    for (std::size_t i = 0; i < group_; ++i) codes[i] |= high[i] << 2;
  }

  int bits_;
  std::size_t group_;
  CodeOrder order_;
};

}  // namespace

FormatPtr block_affine_format(int bits, std::size_t group, CodeOrder order) {
  assert(bits >= 2 && bits <= 4 && group % 16 == 0 && group <= kLargestGroup);
  assert(order == CodeOrder::stream || bits == 3);
  return std::make_shared<BlockAffineFormat>(bits, group, order);
}

std::vector<FormatPtr> block_affine_formats() {
  std::vector<FormatPtr> formats;
  for (const int bits : {2, 3, 4})
    for (const std::size_t group : {16, 32, 64, 128})
      for (const CodeOrder order : {CodeOrder::stream, CodeOrder::planes})
        if (order == CodeOrder::stream || bits == 3)
          formats.push_back(block_affine_format(bits, group, order));
  return formats;
}

}  // namespace assay
