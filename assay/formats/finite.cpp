#include "assay/formats/finite.h"

#include <bit>
#include <cstdint>

#include "assay/base/error.h"
#include "assay/formats/multiversion.h"

namespace assay {
namespace {

constexpr std::uint32_t kExponent = 0x7F800000u;

// A finite value keeps bit 31 clear when one exponent step is added to its magnitude.
ASSAY_LOOP bool any_non_finite_loop(const float* values, std::size_t n) {
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < n; ++i)
    found |= (std::bit_cast<std::uint32_t>(values[i]) & kExponent) + (1u << 23);
  return (found & 0x80000000u) != 0;
}
constexpr Multiversion<any_non_finite_loop> any_non_finite;

}  // namespace

std::optional<std::size_t> first_non_finite(std::span<const float> values) {
  if (!any_non_finite(values.data(), values.size())) return std::nullopt;
  for (std::size_t i = 0; i < values.size(); ++i)
    if ((std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent) return i;
  return std::nullopt;
}

void demand_finite(std::span<const float> values) {
  if (const auto index = first_non_finite(values))
    fail("element {}: found {}, expected a finite weight; the source is damaged", *index, values[*index]);
}

}  // namespace assay
