#include "assay/formats/gguf_superblocks.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "assay/base/error.h"
#include "assay/base/half.h"

namespace assay {
namespace {

constexpr std::size_t kRun = 256;
constexpr std::array<int, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

/// What one weight is made of, each within a signed or unsigned byte.
struct Parts {
  int value = 0;    // q, offset taken off
  int scale = 1;    // s of its sub-block
  int minimum = 0;  // m of its sub-block
};

Code join(const Parts& parts) {
  return (parts.value & 0xFF) | (parts.scale & 0xFF) << 8 | (parts.minimum & 0xFF) << 16;
}

int sign_extend(int byte) {
  return (byte ^ 0x80) - 0x80;
}

Parts split(Code code) {
  return {sign_extend(code & 0xFF), sign_extend(code >> 8 & 0xFF), code >> 16 & 0xFF};
}

/// Bytes of a block, as unsigned integers.
class Block {
 public:
  explicit Block(const std::byte* at) : at_(at) {}
  int operator[](std::size_t i) const { return std::to_integer<int>(at_[i]); }
  int bits(std::size_t byte, std::size_t shift, int count) const {
    return (*this)[byte] >> shift & ((1 << count) - 1);
  }

 private:
  const std::byte* at_;
};

// Where the bits of weight i lie. Two bits: 32 bytes hold 128 weights, 32 of them in each pair of bits.
int two_bits(const Block& block, std::size_t start, std::size_t i) {
  return block.bits(start + i / 128 * 32 + i % 32, i % 128 / 32 * 2, 2);
}
/// Four bits: `width` bytes hold 2 x width weights, the first half in the low nibbles.
int four_bits(const Block& block, std::size_t start, std::size_t width, std::size_t i) {
  return block.bits(start + i / (2 * width) * width + i % width, i % (2 * width) / width * 4, 4);
}
/// One bit: 32 bytes hold all, 32 of them in each bit.
int one_bit(const Block& block, std::size_t start, std::size_t i) {
  return block.bits(start + i % 32, i / 32, 1);
}

Parts q2_k(const Block& block, std::size_t i) {
  return {two_bits(block, 16, i), block.bits(i / 16, 0, 4), block.bits(i / 16, 4, 4)};
}

Parts q3_k(const Block& block, std::size_t i) {
  const std::size_t j = i / 16, scales = 96;
  const int scale = block.bits(scales + j % 8, j / 8 * 4, 4) | block.bits(scales + 8 + j % 4, j / 4 * 2, 2)
                                                                   << 4;
  return {two_bits(block, 32, i) - 4 * (1 - one_bit(block, 0, i)), scale - 32};
}

/// Scales and minima of six bits: the first four whole, of the others the high bits beside those.
Parts six_bit_scales(const Block& block, std::size_t j) {
  const std::size_t scales = 4;
  if (j < 4) return {0, block.bits(scales + j, 0, 6), block.bits(scales + 4 + j, 0, 6)};
  const std::size_t k = j - 4;
  return {0, block.bits(scales + 8 + k, 0, 4) | block.bits(scales + k, 6, 2) << 4,
          block.bits(scales + 8 + k, 4, 4) | block.bits(scales + 4 + k, 6, 2) << 4};
}

Parts q4_k(const Block& block, std::size_t i) {
  Parts parts = six_bit_scales(block, i / 32);
  parts.value = four_bits(block, 16, 32, i);
  return parts;
}

Parts q5_k(const Block& block, std::size_t i) {
  Parts parts = six_bit_scales(block, i / 32);
  parts.value = four_bits(block, 48, 32, i) | one_bit(block, 16, i) << 4;
  return parts;
}

Parts q6_k(const Block& block, std::size_t i) {
  return {(four_bits(block, 0, 64, i) | two_bits(block, 128, i) << 4) - 32, sign_extend(block[192 + i / 16])};
}

Parts iq4_nl(const Block& block, std::size_t i) {
  return {kNonLinear[static_cast<std::size_t>(four_bits(block, 2, 16, i))]};
}

Parts iq4_xs(const Block& block, std::size_t i) {
  const std::size_t j = i / 32;
  const int high = (block[2] | block[3] << 8) >> (2 * j) & 3;
  return {kNonLinear[static_cast<std::size_t>(four_bits(block, 8, 16, i))],
          (block.bits(4 + j / 2, j % 2 * 4, 4) | high << 4) - 32};
}

constexpr std::size_t kNone = SIZE_MAX;

struct Traits {
  std::string name, summary;
  std::size_t run, bytes;
  std::size_t scale_at, minimum_at;  // of the block's f16 d and dmin
  Parts (*parts)(const Block&, std::size_t);
  int lowest, highest;              // q
  int lowest_scale, highest_scale;  // s
  int highest_minimum;              // m
};

class SuperblockFormat final : public Format {
 public:
  explicit SuperblockFormat(Traits traits) : traits_(std::move(traits)) {}

  std::string name() const override { return traits_.name; }
  std::string summary() const override { return traits_.summary; }
  bool can_encode() const override { return false; }
  Layout layout(std::uint64_t /*columns*/) const override {
    return {Share::run_in_row, traits_.run, true, 1, {{"weight", DType::U8, traits_.bytes}}};
  }

  bool valid(const Params& params, std::span<const Code> codes, std::string* why) const override {
    if (!std::isfinite(params.scale) || !std::isfinite(params.bias)) {
      *why = fmt::format("scale {} and minimum {}, finite numbers expected", params.scale, params.bias);
      return false;
    }
    const auto legal = [&](Code code) {
      const Parts parts = split(code);
      return code >> 24 == 0 && parts.value >= traits_.lowest && parts.value <= traits_.highest &&
             parts.scale >= traits_.lowest_scale && parts.scale <= traits_.highest_scale &&
             parts.minimum <= traits_.highest_minimum;
    };
    const auto bad = std::ranges::find_if_not(codes, legal);
    if (bad == codes.end()) return true;
    *why = fmt::format("code {:#x} of element {} is none of this format", *bad, bad - codes.begin());
    return false;
  }

  void decode(std::span<const Params> params, std::span<const Code> codes,
              std::span<float> out) const override {
    assert(codes.size() == params.size() * traits_.run && out.size() == codes.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      const Params& unit = params[i / traits_.run];
      const Parts parts = split(codes[i]);
      const float step = unit.scale * static_cast<float>(parts.scale);
      const float offset = unit.bias * static_cast<float>(parts.minimum);
      out[i] = step * static_cast<float>(parts.value) - offset;
    }
  }

  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override {
    assert(planes.size() == 1 && planes[0].size() == params.size() * traits_.bytes);
    const std::byte* at = planes[0].data();
    for (std::size_t unit = 0; unit < params.size(); ++unit, at += traits_.bytes) {
      const auto half_at = [&](std::size_t offset) { return f16_to_f32(load<std::uint16_t>(at + offset)); };
      params[unit] = {half_at(traits_.scale_at),
                      traits_.minimum_at == kNone ? 0.0f : half_at(traits_.minimum_at)};
      const Block block(at);
      for (std::size_t i = 0; i < traits_.run; ++i)
        codes[unit * traits_.run + i] = join(traits_.parts(block, i));
    }
  }

  std::pair<float, float> range(const Params& params) const override {
    const auto scale = static_cast<float>(std::max(traits_.highest_scale, -traits_.lowest_scale));
    const auto value = static_cast<float>(std::max(traits_.highest, -traits_.lowest));
    const float reach = std::fabs(params.scale) * scale * value +
                        std::fabs(params.bias) * static_cast<float>(traits_.highest_minimum);
    return {-reach, reach};
  }

 private:
  Traits traits_;
};

}  // namespace

std::vector<FormatPtr> gguf_superblock_formats() {
  std::vector<FormatPtr> formats;
  const auto add = [&](Traits traits) {
    traits.summary += "; GGUF, read only";
    formats.push_back(std::make_shared<SuperblockFormat>(std::move(traits)));
  };
  add({"q2_k", "2-bit blocks of 256 in a row, scale and minimum of 4 bits every 16, 2.625 bits", kRun, 84, 80,
       82, q2_k, 0, 3, 0, 15, 15});
  add({"q3_k", "3-bit blocks of 256 in a row, scale of 6 bits every 16, 3.4375 bits", kRun, 110, 108, kNone,
       q3_k, -4, 3, -32, 31, 0});
  add({"q4_k", "4-bit blocks of 256 in a row, scale and minimum of 6 bits every 32, 4.5 bits", kRun, 144, 0,
       2, q4_k, 0, 15, 0, 63, 63});
  add({"q5_k", "5-bit blocks of 256 in a row, scale and minimum of 6 bits every 32, 5.5 bits", kRun, 176, 0,
       2, q5_k, 0, 31, 0, 63, 63});
  add({"q6_k", "6-bit blocks of 256 in a row, scale of 8 bits every 16, 6.5625 bits", kRun, 210, 208, kNone,
       q6_k, -32, 31, -128, 127, 0});
  add({"iq4_nl", "4-bit non-linear blocks of 32 in a row, f16 scale, 4.5 bits", 32, 18, 0, kNone, iq4_nl,
       -127, 113, 1, 1, 0});
  add({"iq4_xs", "4-bit non-linear blocks of 256 in a row, scale of 6 bits every 32, 4.25 bits", kRun, 136, 0,
       kNone, iq4_xs, -127, 113, -32, 31, 0});
  return formats;
}

}  // namespace assay
