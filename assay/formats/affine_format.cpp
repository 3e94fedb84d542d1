#include "assay/formats/affine_format.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "assay/base/error.h"
#include "assay/formats/finite.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/rounding.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

// With a bias of +0 the sum also turns the -0 of a zero code under a negative scale into +0.
inline float decode_one(Code code, Code zero, const Params& params) {
  return static_cast<float>(code - zero) * params.scale + params.bias;
}

ASSAY_LOOP void decode_units_loop(const Params* params, const Code* codes, Code zero, std::size_t run,
                                  float* out, std::size_t n) {
  for (std::size_t start = 0; start < n; start += run, ++params) {
    const Params shared = *params;
    const std::size_t end = std::min(start + run, n);
    for (std::size_t i = start; i < end; ++i) out[i] = decode_one(codes[i], zero, shared);
  }
}
constexpr Multiversion<decode_units_loop> decode_units;

std::pair<float, float> decoded_range(const AffineView& view, const Params& params) {
  const float first = decode_one(view.first_code, view.zero, params);
  const float last = decode_one(view.first_code + view.codes - 1, view.zero, params);
  return std::minmax(first, last);
}

// Neighbouring codes then decode at least 31/32 of a step apart, so the nearest one is a neighbour of the
// quotient.
inline bool well_spaced(const Params& params) {
  const float scale = std::fabs(params.scale);
  return (scale > 0.0f) & (scale <= 0x1p100f) & (scale * 0x1p19f >= std::fabs(params.bias));
}

// Two candidates below and above the quotient, compared by their decoded values in double (exact for f16
// parameters). Returns whether some parameters are not well spaced; their results are to be replaced.
ASSAY_LOOP bool round_well_spaced_loop(const Params* params, const float* values, const AffineView& view,
                                       Code* codes, float* out, std::size_t n) {
  const float origin = static_cast<float>(view.zero - view.first_code);
  const float last = static_cast<float>(view.codes - 1);
  const Code first = view.first_code, zero = view.zero;
  int unfit = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Params shared = params[i];
    const float position = (values[i] - shared.bias) / shared.scale + origin;
    const Code low = first + static_cast<Code>(clamp(position, 0.0f, last - 1.0f));
    const float below = decode_one(low, zero, shared);
    const float above = decode_one(low + 1, zero, shared);
    const double value = values[i];
    // Far beyond the last code the two distances are equal even in double.
    const bool up = (position >= last) | (std::fabs(value - static_cast<double>(above)) <
                                          std::fabs(value - static_cast<double>(below)));
    codes[i] = low + (up ? 1 : 0);
    out[i] = up ? above : below;
    unfit |= well_spaced(shared) ? 0 : 1;
  }
  return unfit != 0;
}
constexpr Multiversion<round_well_spaced_loop> round_well_spaced;

// Every code, for scales that vanish beside their bias or beside f32 itself. A scale of zero has one agreed
// code.
Code nearest_of_all(const AffineView& view, const Params& params, float value) {
  if (params.scale == 0.0f) return view.zero;
  // Beyond the ends the nearest code is that of the end, also where double cannot tell the distances apart.
  const auto [low, high] = decoded_range(view, params);
  value = clamp(value, low, high);
  Code best = view.zero;
  double best_distance = std::numeric_limits<double>::infinity();
  for (Code code = view.first_code; code < view.first_code + view.codes; ++code) {
    const double distance =
        std::fabs(static_cast<double>(value) - static_cast<double>(decode_one(code, view.zero, params)));
    if (distance < best_distance) {
      best_distance = distance;
      best = code;
    }
  }
  return best;
}

ASSAY_LOOP bool all_in_range_loop(const Code* codes, std::size_t n, Code first, Code count) {
  int outside = 0;
  for (std::size_t i = 0; i < n; ++i)
    outside |= static_cast<std::uint32_t>(codes[i] - first) >= static_cast<std::uint32_t>(count) ? 1 : 0;
  return outside == 0;
}
constexpr Multiversion<all_in_range_loop> all_in_range;

}  // namespace

bool AffineFormat::valid(const Params& params, std::span<const Code> codes, std::string* why) const {
  if (!std::isfinite(params.scale) || (rule_.positive_scale && !(params.scale > 0.0f))) {
    *why = fmt::format("scale {} is not finite{}", params.scale, rule_.positive_scale ? " and positive" : "");
    return false;
  }
  if (!std::isfinite(params.bias)) {
    *why = fmt::format("bias {} is not finite", params.bias);
    return false;
  }
  if (all_in_range(codes.data(), codes.size(), view_.first_code, view_.codes)) return true;
  const Code last = view_.first_code + view_.codes - 1;
  const auto bad = std::find_if(codes.begin(), codes.end(),
                                [&](Code code) { return code < view_.first_code || code > last; });
  *why = fmt::format("code {} of element {} is outside {}..{}", *bad, bad - codes.begin(), view_.first_code,
                     last);
  return false;
}

void AffineFormat::decode(std::span<const Params> params, std::span<const Code> codes,
                          std::span<float> out) const {
  if (out.empty()) return;
  assert(codes.size() % params.size() == 0 && out.size() <= codes.size());
  decode_units(params.data(), codes.data(), view_.zero, codes.size() / params.size(), out.data(), out.size());
}

void AffineFormat::round(std::span<const Params> params, std::span<const float> values, std::span<Code> codes,
                         std::span<float> out) const {
  if (!can_encode()) return Format::round(params, values, codes, out);
  assert(params.size() == values.size() && codes.size() == values.size() && out.size() == values.size());
  demand_finite(values);
  if (!round_well_spaced(params.data(), values.data(), view_, codes.data(), out.data(), values.size()))
    return;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (well_spaced(params[i])) continue;
    codes[i] = nearest_of_all(view_, params[i], values[i]);
    out[i] = decode_one(codes[i], view_.zero, params[i]);
  }
}

std::optional<AffineView> AffineFormat::affine() const {
  if (!can_encode()) return std::nullopt;
  return view_;
}

std::optional<CodeLine> AffineFormat::code_line() const {
  if (rule_.stored_bias && view_.zero != 0) return std::nullopt;  // both at once: no format of ours
  const auto offset = rule_.stored_bias ? CodeLine::Offset::bias : CodeLine::Offset::fixed_zero;
  return CodeLine{view_.first_code, view_.codes, offset, view_.zero};
}

std::optional<Params> AffineFormat::store(float scale, float bias) const {
  if (!can_encode()) return std::nullopt;
  Params params;
  params.scale = through(rule_.dtype, scale);
  if (!std::isfinite(params.scale) || params.scale == 0.0f || (rule_.positive_scale && params.scale < 0.0f))
    return std::nullopt;
  if (rule_.stored_bias)
    params.bias = through(rule_.dtype, view_.free_bias ? bias : view_.bias_per_scale * params.scale);
  if (!std::isfinite(params.bias)) return std::nullopt;
  return params;
}

std::pair<float, float> AffineFormat::range(const Params& params) const {
  return decoded_range(view_, params);
}

float AffineFormat::stored(const char* what, float value, std::size_t first_element) const {
  const float result = through(rule_.dtype, value);
  if (!std::isfinite(result))
    fail("unit from element {}: {} {} does not fit {} of {}; choose a format with a wider range",
         first_element, what, value, dtype_name(rule_.dtype), name());
  return result;
}

}  // namespace assay
