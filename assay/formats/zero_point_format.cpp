#include "assay/formats/zero_point_format.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "assay/base/bit_stream.h"
#include "assay/base/error.h"
#include "assay/formats/multiversion.h"
#include "assay/formats/stored_float.h"

namespace assay {
namespace {

ASSAY_LOOP void decode_groups_loop(const Params* params, const Code* codes, std::size_t run, float* out,
                                   std::size_t n) {
  for (std::size_t start = 0; start < n; start += run, ++params) {
    const Params group = *params;
    const auto zero = static_cast<Code>(group.bias);
    for (std::size_t i = start; i < start + run; ++i)
      out[i] = static_cast<float>(codes[i] - zero) * group.scale;
  }
}
constexpr Multiversion<decode_groups_loop> decode_groups;

}  // namespace

Layout ZeroPointFormat::layout(std::uint64_t columns) const {
  const std::size_t run = traits_.group == 0 ? static_cast<std::size_t>(columns) : traits_.group;
  Layout shape = {
      traits_.group == 0 ? Share::row : Share::run_in_row,
      run,
      true,
      1,
      {{"weight", DType::I32, code_bytes(run)}, {"scales", traits_.scale, dtype_size(traits_.scale)}}};
  if (traits_.stored_zeros) shape.planes.push_back({"zeros", DType::U8, 1});
  return shape;
}

// Whole words, without the overflow of run * bits.
std::size_t ZeroPointFormat::code_bytes(std::size_t run) const {
  const auto bits = static_cast<std::size_t>(traits_.bits);
  return (run / 32 * bits + (run % 32 * bits + 31) / 32) * 4;
}

bool ZeroPointFormat::valid(const Params& params, std::span<const Code> codes, std::string* why) const {
  if (!std::isfinite(params.scale)) {
    *why = fmt::format("scale {} is not finite", params.scale);
    return false;
  }
  for (const Code code : codes)
    if (code < 0 || code >= this->codes()) {
      *why = fmt::format("code {} is not one of 0 to {}", code, this->codes() - 1);
      return false;
    }
  return true;
}

void ZeroPointFormat::decode(std::span<const Params> params, std::span<const Code> codes,
                             std::span<float> out) const {
  if (params.empty()) return;
  assert(codes.size() % params.size() == 0 && out.size() == codes.size());
  decode_groups(params.data(), codes.data(), codes.size() / params.size(), out.data(), out.size());
}

void ZeroPointFormat::unpack(std::span<const Bytes> planes, std::span<Params> params,
                             std::span<Code> codes) const {
  if (params.empty()) return;
  const std::size_t run = codes.size() / params.size(), bytes = code_bytes(run),
                    used = (run * static_cast<std::size_t>(traits_.bits) + 7) / 8;
  assert(planes.size() == (traits_.stored_zeros ? 3u : 2u) && planes[0].size() == params.size() * bytes);
  if (used == bytes)
    unpack_bits(planes[0], traits_.bits, codes);
  else
    for (std::size_t i = 0; i < params.size(); ++i)
      unpack_bits(planes[0].subspan(i * bytes, used), traits_.bits, codes.subspan(i * run, run));
  const std::size_t scale_bytes = dtype_size(traits_.scale);
  for (std::size_t i = 0; i < params.size(); ++i) {
    Code zero = this->codes() / 2;
    if (traits_.stored_zeros)
      zero = (std::to_integer<Code>(planes[2][i]) + traits_.added_to_zeros) % this->codes();
    params[i] = {read_float(traits_.scale, planes[1].data() + i * scale_bytes), static_cast<float>(zero)};
  }
}

std::pair<float, float> ZeroPointFormat::range(const Params& params) const {
  return std::minmax(
      {(0 - params.bias) * params.scale, (static_cast<float>(codes() - 1) - params.bias) * params.scale});
}

std::string ZeroPointFormat::group_name() const {
  return traits_.group == 0 ? "row" : fmt::format("g{}", traits_.group);
}

std::string ZeroPointFormat::group_text() const {
  return traits_.group == 0 ? "one group a row" : fmt::format("groups of {} in a row", traits_.group);
}

}  // namespace assay
