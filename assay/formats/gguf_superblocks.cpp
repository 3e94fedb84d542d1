#include "assay/formats/gguf_superblocks.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/half.h"
#include "assay/formats/affine_format.h"
#include "assay/formats/finite.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/superblock_fit.h"

namespace assay {
namespace {

constexpr std::size_t kNone = SIZE_MAX;
constexpr std::array<Code, 16> kNonLinear = {-127, -104, -83, -65, -49, -35, -22, -10,
                                             1,    13,   25,  38,  53,  69,  89,  113};

/// Which codes from the first to the last of the table are in it.
constexpr auto kIsLevel = [] {
  std::array<bool, kNonLinear.back() - kNonLinear.front() + 1> is_level{};
  for (const Code level : kNonLinear) is_level[static_cast<std::size_t>(level - kNonLinear.front())] = true;
  return is_level;
}();

/// Some bits of one byte of a block.
struct Bits {
  std::size_t byte;
  int shift, count;
};

/// Where a small integer lies: its low bits, and above them its high ones.
struct Place {
  Bits low;
  Bits high = {0, 0, 0};
};

/// Bits of every weight's code: `width` bytes hold 8 / bits times as many weights, the first `width` of them
/// in the lowest bits. They are worth 2^shift.
struct CodeField {
  std::size_t start, width;
  int bits, shift;
};

Place q2_k_scale(std::size_t j) {
  return {{j, 0, 4}};
}
Place q2_k_minimum(std::size_t j) {
  return {{j, 4, 4}};
}
Place q3_k_scale(std::size_t j) {
  return {{96 + j % 8, static_cast<int>(j / 8) * 4, 4}, {104 + j % 4, static_cast<int>(j / 4) * 2, 2}};
}
// Six bits: the first four whole, of the others the high bits beside those.
Place q4_k_scale(std::size_t j) {
  return j < 4 ? Place{{4 + j, 0, 6}} : Place{{8 + j, 0, 4}, {j, 6, 2}};
}
Place q4_k_minimum(std::size_t j) {
  return j < 4 ? Place{{8 + j, 0, 6}} : Place{{8 + j, 4, 4}, {4 + j, 6, 2}};
}
Place q6_k_scale(std::size_t j) {
  return {{192 + j, 0, 8}};
}
Place iq4_xs_scale(std::size_t j) {
  return {{4 + j / 2, static_cast<int>(j % 2) * 4, 4}, {2 + j / 4, static_cast<int>(j % 4) * 2, 2}};
}

struct Traits {
  std::string name, summary;
  std::size_t run, units, bytes;            // weights of a sub-block, sub-blocks of a superblock, its bytes
  std::size_t scale_at, minimum_at;         // f16 d and dmin
  Place (*scale)(std::size_t);              // of sub-block j; null: s is 1
  Place (*minimum)(std::size_t);            // null: no minima
  std::array<CodeField, 2> fields;          // the second of no bits where there is one
  Code lowest, highest;                     // q
  int lowest_scale, highest_scale;          // s
  int scale_flip = 0, highest_minimum = 0;  // s as stored: s - lowest_scale with these bits flipped; m
  bool non_linear = false;                  // q is the index of a value of the table

  std::size_t weights() const { return run * units; }
};

int read_bits(const std::byte* block, const Bits& bits) {
  return std::to_integer<int>(block[bits.byte]) >> bits.shift & ((1 << bits.count) - 1);
}

int read_place(const std::byte* block, const Place& place) {
  return read_bits(block, place.low) | read_bits(block, place.high) << place.low.count;
}

/// Into zeros.
void write_bits(std::byte* block, const Bits& bits, int value) {
  block[bits.byte] |= static_cast<std::byte>((value & ((1 << bits.count) - 1)) << bits.shift);
}

void write_place(std::byte* block, const Place& place, int value) {
  write_bits(block, place.low, value);
  write_bits(block, place.high, value >> place.low.count);
}

ASSAY_LOOP void read_codes_loop(const std::byte* block, const Traits& traits, std::size_t blocks,
                                Code* codes) {
  const std::size_t n = traits.weights(), bytes = traits.bytes;
  for (std::size_t b = 0; b < blocks; ++b, block += bytes, codes += n) {
    const Code lowest = traits.non_linear ? 0 : traits.lowest;
    for (std::size_t i = 0; i < n; ++i) codes[i] = lowest;
    for (const CodeField& field : traits.fields) {
      if (field.bits == 0) continue;
      const std::size_t width = field.width;
      const std::byte* from = block + field.start;
      for (std::size_t i = 0; i < n; from += width)
        for (int at = 0; at < 8; at += field.bits, i += width)
          for (std::size_t k = 0; k < width; ++k)
            codes[i + k] += (std::to_integer<Code>(from[k]) >> at & ((1 << field.bits) - 1)) << field.shift;
    }
  }
}
constexpr Multiversion<read_codes_loop> read_codes;

/// `values` are q less the lowest, or indices. Into zeros.
void write_codes(const Traits& traits, const Code* values, std::byte* block) {
  for (const CodeField& field : traits.fields) {
    if (field.bits == 0) continue;
    std::byte* to = block + field.start;
    for (std::size_t i = 0; i < traits.weights(); to += field.width)
      for (int at = 0; at < 8; at += field.bits, i += field.width)
        for (std::size_t k = 0; k < field.width; ++k)
          to[k] |= static_cast<std::byte>((values[i + k] >> field.shift & ((1 << field.bits) - 1)) << at);
  }
}

/// Scale and bias of what is stored. Products are exact, so bits do not depend on who multiplies first.
/// Without minima the bias is -0: it leaves the sign of a zero alone, as subtracting +0 does.
Params params_of(const SubScale& sub) {
  return {f16_to_f32(sub.scale_unit) * static_cast<float>(sub.scale),
          -(f16_to_f32(sub.minimum_unit) * static_cast<float>(sub.minimum)), sub};
}

/// The nearest multiple of `unit` among those from lowest to highest; 0 where there are no multiples.
int multiple_of(float unit, double value, int lowest, int highest) {
  if (unit == 0.0f) return 0;
  const double quotient = value / static_cast<double>(unit);
  return round_half_away(
      clamp(static_cast<float>(quotient), static_cast<float>(lowest), static_cast<float>(highest)));
}

class SuperblockFormat final : public AffineFormat {
 public:
  explicit SuperblockFormat(Traits traits)
      : AffineFormat({.free_bias = traits.minimum != nullptr,
                      .first_code = traits.lowest,
                      .codes = traits.highest - traits.lowest + 1},
                     {.stored_bias = traits.minimum != nullptr}),
        traits_(std::move(traits)) {}

  std::string name() const override { return traits_.name; }
  std::string summary() const override { return traits_.summary; }
  Layout layout(std::uint64_t /*columns*/) const override {
    Layout layout{Share::run_in_row, traits_.run, true, 1, {{"weight", DType::U8, traits_.bytes}}};
    layout.units_per_record = traits_.units;
    return layout;
  }
  std::optional<AffineView> affine() const override {
    return traits_.non_linear ? std::nullopt : AffineFormat::affine();
  }
  std::optional<CodeLine> code_line() const override {
    std::optional<CodeLine> line = AffineFormat::code_line();
    if (!line) return line;
    if (traits_.scale != nullptr) line->superblock = traits_.weights();
    if (traits_.non_linear) {
      line->levels = kNonLinear;
      line->codes_are_levels = true;
    }
    return line;
  }

  bool valid(const Params& params, std::span<const Code> codes, std::string* why) const override;
  void reference(std::span<const float> weights, std::span<Params> params,
                 std::span<Code> codes) const override;
  void round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
             std::span<float> out) const override;
  void pack(std::span<const Params> params, std::span<const Code> codes,
            std::span<const MutableBytes> planes) const override;
  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const override;
  std::optional<Params> store(float scale, float bias) const override;
  std::optional<Params> store_beside(const Params& unit, float scale, float bias) const override;

 private:
  /// The s of the sub-block with the largest scale.
  int widest_scale() const { return traits_.lowest_scale < 0 ? traits_.lowest_scale : traits_.highest_scale; }
  bool has_minima() const { return traits_.minimum != nullptr; }
  void choose_params(std::span<const SubBlockFit> fits, std::size_t first_element,
                     std::span<Params> params) const;
  std::optional<Params> nearest_params(SubScale sub, float scale, float bias) const;

  Traits traits_;
};

bool SuperblockFormat::valid(const Params& params, std::span<const Code> codes, std::string* why) const {
  if (!AffineFormat::valid(params, codes, why)) return false;
  const SubScale& sub = params.sub;
  const Params made = params_of(sub);
  if (made.scale != params.scale || made.bias != params.bias) {
    *why = fmt::format("scale {} and bias {} are not those of {} and {} in its superblock", params.scale,
                       params.bias, sub.scale, sub.minimum);
    return false;
  }
  if (sub.scale < traits_.lowest_scale || sub.scale > traits_.highest_scale ||
      sub.minimum > traits_.highest_minimum) {
    *why = fmt::format("scale {} or minimum {} of its superblock is none of this format", sub.scale,
                       sub.minimum);
    return false;
  }
  if (!traits_.non_linear) return true;
  const auto bad = std::ranges::find_if_not(
      codes, [](Code code) { return kIsLevel[static_cast<std::size_t>(code - kNonLinear.front())]; });
  if (bad == codes.end()) return true;
  *why = fmt::format("code {} of element {} is not in the table", *bad, bad - codes.begin());
  return false;
}

void SuperblockFormat::reference(std::span<const float> weights, std::span<Params> params,
                                 std::span<Code> codes) const {
  assert(weights.size() == params.size() * traits_.run && codes.size() == weights.size());
  assert(params.size() % traits_.units == 0);
  demand_finite(weights);
  std::vector<SubBlockFit> fits(traits_.units);
  std::vector<Params> spread(traits_.weights());
  std::vector<float> decoded(traits_.weights());
  for (std::size_t first = 0; first < params.size(); first += traits_.units) {
    const std::size_t at = first * traits_.run;
    for (std::size_t j = 0; j < traits_.units; ++j) {
      const auto part = weights.subspan(at + j * traits_.run, traits_.run);
      fits[j] = has_minima()         ? fit_with_minimum(part, traits_.highest)
                : traits_.non_linear ? fit_levels(part, kNonLinear)
                                     : fit_symmetric(part, traits_.lowest, traits_.highest);
    }
    const auto units = params.subspan(first, traits_.units);
    choose_params(fits, at, units);
    for (std::size_t i = 0; i < spread.size(); ++i) spread[i] = units[i / traits_.run];
    round(spread, weights.subspan(at, spread.size()), codes.subspan(at, spread.size()), decoded);
  }
}

void SuperblockFormat::choose_params(std::span<const SubBlockFit> fits, std::size_t first_element,
                                     std::span<Params> params) const {
  double scale = 0, minimum = 0;
  for (const SubBlockFit& fit : fits) {
    if (std::fabs(fit.scale) > std::fabs(scale)) scale = fit.scale;
    minimum = std::max(minimum, fit.minimum);
  }
  const float d = stored("scale", static_cast<float>(scale / widest_scale()), first_element);
  const float dmin =
      has_minima() ? stored("minimum", static_cast<float>(minimum / traits_.highest_minimum), first_element)
                   : 0.0f;
  for (std::size_t j = 0; j < params.size(); ++j) {
    const int s = traits_.scale == nullptr
                      ? 1
                      : multiple_of(d, fits[j].scale, traits_.lowest_scale, traits_.highest_scale);
    const int m = multiple_of(dmin, fits[j].minimum, 0, traits_.highest_minimum);
    params[j] = params_of(
        {f32_to_f16(d), f32_to_f16(dmin), static_cast<std::int8_t>(s), static_cast<std::uint8_t>(m)});
  }
}

void SuperblockFormat::round(std::span<const Params> params, std::span<const float> values,
                             std::span<Code> codes, std::span<float> out) const {
  if (!traits_.non_linear) return AffineFormat::round(params, values, codes, out);
  demand_finite(values);
  round_to_levels(kNonLinear, params, values, codes, out);
}

void SuperblockFormat::pack(std::span<const Params> params, std::span<const Code> codes,
                            std::span<const MutableBytes> planes) const {
  const std::size_t n = traits_.weights();
  assert(planes.size() == 1 && params.size() % traits_.units == 0 &&
         codes.size() == params.size() * traits_.run);
  assert(planes[0].size() == params.size() / traits_.units * traits_.bytes);
  std::vector<Code> values(n);
  std::byte* block = planes[0].data();
  for (std::size_t unit = 0; unit < params.size(); unit += traits_.units, block += traits_.bytes) {
    std::fill_n(block, traits_.bytes, std::byte{0});
    const SubScale& shared = params[unit].sub;
    assay::store(block + traits_.scale_at, shared.scale_unit);
    if (has_minima()) assay::store(block + traits_.minimum_at, shared.minimum_unit);
    for (std::size_t j = 0; j < traits_.units; ++j) {
      const SubScale& sub = params[unit + j].sub;
      assert(sub.scale_unit == shared.scale_unit && sub.minimum_unit == shared.minimum_unit);
      if (traits_.scale != nullptr)
        write_place(block, traits_.scale(j), (sub.scale - traits_.lowest_scale) ^ traits_.scale_flip);
      if (has_minima()) write_place(block, traits_.minimum(j), sub.minimum);
    }
    std::ranges::transform(codes.subspan(unit * traits_.run, n), values.begin(), [&](Code code) {
      return traits_.non_linear
                 ? static_cast<Code>(std::ranges::lower_bound(kNonLinear, code) - kNonLinear.begin())
                 : code - traits_.lowest;
    });
    write_codes(traits_, values.data(), block);
  }
}

void SuperblockFormat::unpack(std::span<const Bytes> planes, std::span<Params> params,
                              std::span<Code> codes) const {
  const std::size_t blocks = params.size() / traits_.units;
  assert(planes.size() == 1 && planes[0].size() == blocks * traits_.bytes);
  assert(params.size() % traits_.units == 0 && codes.size() == params.size() * traits_.run);
  const std::byte* block = planes[0].data();
  read_codes(block, traits_, blocks, codes.data());
  if (traits_.non_linear)
    for (Code& code : codes) code = kNonLinear[static_cast<std::size_t>(code)];
  for (std::size_t unit = 0; unit < params.size(); unit += traits_.units, block += traits_.bytes) {
    SubScale sub{.scale_unit = load<std::uint16_t>(block + traits_.scale_at), .scale = 1};
    if (has_minima()) sub.minimum_unit = load<std::uint16_t>(block + traits_.minimum_at);
    for (std::size_t j = 0; j < traits_.units; ++j) {
      if (traits_.scale != nullptr)
        sub.scale = static_cast<std::int8_t>((read_place(block, traits_.scale(j)) ^ traits_.scale_flip) +
                                             traits_.lowest_scale);
      if (has_minima()) sub.minimum = static_cast<std::uint8_t>(read_place(block, traits_.minimum(j)));
      params[unit + j] = params_of(sub);
    }
  }
}

std::optional<Params> SuperblockFormat::store(float scale, float bias) const {
  SubScale own{.scale_unit = f32_to_f16(scale)};
  if (has_minima()) own.minimum_unit = f32_to_f16(-bias);
  return nearest_params(own, scale, bias);
}

std::optional<Params> SuperblockFormat::store_beside(const Params& unit, float scale, float bias) const {
  return nearest_params(unit.sub, scale, bias);
}

/// Under the units that `sub` names.
std::optional<Params> SuperblockFormat::nearest_params(SubScale sub, float scale, float bias) const {
  const float d = f16_to_f32(sub.scale_unit), dmin = f16_to_f32(sub.minimum_unit);
  if (traits_.non_linear || !std::isfinite(scale) || !std::isfinite(bias) || !std::isfinite(d) ||
      !std::isfinite(dmin) || scale == 0.0f || d == 0.0f)
    return std::nullopt;
  const bool against = std::signbit(scale) != std::signbit(d);
  if (against && traits_.lowest_scale == 0) return std::nullopt;
  const int s = multiple_of(d, static_cast<double>(scale), traits_.lowest_scale, traits_.highest_scale);
  sub.scale = static_cast<std::int8_t>(s != 0 ? s : against ? -1 : 1);
  sub.minimum =
      static_cast<std::uint8_t>(multiple_of(dmin, -static_cast<double>(bias), 0, traits_.highest_minimum));
  return params_of(sub);
}

}  // namespace

std::vector<FormatPtr> gguf_superblock_formats() {
  constexpr CodeField kNoField = {0, 0, 0, 0};
  std::vector<FormatPtr> formats;
  const auto add = [&](Traits traits) {
    traits.summary += "; GGUF";
    formats.push_back(std::make_shared<SuperblockFormat>(std::move(traits)));
  };
  add({"q2_k",
       "2-bit blocks of 16 in 256 in a row, scale and minimum of 4 bits, 2.625 bits",
       16,
       16,
       84,
       80,
       82,
       q2_k_scale,
       q2_k_minimum,
       {{{16, 32, 2, 0}, kNoField}},
       0,
       3,
       0,
       15,
       0,
       15});
  add({"q3_k",
       "3-bit blocks of 16 in 256 in a row, scale of 6 bits, 3.4375 bits",
       16,
       16,
       110,
       108,
       kNone,
       q3_k_scale,
       nullptr,
       {{{32, 32, 2, 0}, {0, 32, 1, 2}}},
       -4,
       3,
       -32,
       31});
  add({"q4_k",
       "4-bit blocks of 32 in 256 in a row, scale and minimum of 6 bits, 4.5 bits",
       32,
       8,
       144,
       0,
       2,
       q4_k_scale,
       q4_k_minimum,
       {{{16, 32, 4, 0}, kNoField}},
       0,
       15,
       0,
       63,
       0,
       63});
  add({"q5_k",
       "5-bit blocks of 32 in 256 in a row, scale and minimum of 6 bits, 5.5 bits",
       32,
       8,
       176,
       0,
       2,
       q4_k_scale,
       q4_k_minimum,
       {{{48, 32, 4, 0}, {16, 32, 1, 4}}},
       0,
       31,
       0,
       63,
       0,
       63});
  add({"q6_k",
       "6-bit blocks of 16 in 256 in a row, scale of 8 bits, 6.5625 bits",
       16,
       16,
       210,
       208,
       kNone,
       q6_k_scale,
       nullptr,
       {{{0, 64, 4, 0}, {128, 32, 2, 4}}},
       -32,
       31,
       -128,
       127,
       0x80});
  add({"iq4_nl",
       "4-bit non-linear blocks of 32 in a row, f16 scale, 4.5 bits",
       32,
       1,
       18,
       0,
       kNone,
       nullptr,
       nullptr,
       {{{2, 16, 4, 0}, kNoField}},
       -127,
       113,
       1,
       1,
       0,
       0,
       true});
  add({"iq4_xs",
       "4-bit non-linear blocks of 32 in 256 in a row, scale of 6 bits, 4.25 bits",
       32,
       8,
       136,
       0,
       kNone,
       iq4_xs_scale,
       nullptr,
       {{{8, 16, 4, 0}, kNoField}},
       -127,
       113,
       -32,
       31,
       0,
       0,
       true});
  return formats;
}

}  // namespace assay
