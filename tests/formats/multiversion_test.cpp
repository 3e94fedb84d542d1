// Every version of the formats' loops gives the same bits.
#include "assay/formats/multiversion.h"

#include "assay/base/error.h"
#include "assay/formats/finite.h"
#include "tests/formats/format_helpers.h"
#include "tests/isa.h"

namespace assay::test {
namespace {

constexpr std::size_t kRows = 5, kColumns = 256;

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

TEST(Multiversion, FormatsRoundPackAndDecodeAlike) {
  for_each_format(encodes, [](const Format& format) {
    const std::vector<float> weights = gaussian(kRows * kColumns, 3), others = gaussian(kRows * kColumns, 4);
    expect_same_on_every_isa([&] {
      Encoded encoded = encode(format, weights, kColumns);
      const auto decoded = bits_of(decode(format, encoded, weights.size()));
      const PlaneBytes planes = pack(format, encoded, kColumns);
      std::vector<Code> codes(weights.size());
      std::vector<float> out(weights.size());
      format.round(per_weight(format, encoded, weights.size(), kColumns), others, codes, out);
      return std::tuple(decoded, planes, codes, bits_of(out));
    });
  });
}

TEST(Multiversion, StoredPlanesDecodeAlike) {
  for_each_format(has_params, [](const Format& format) {
    std::mt19937 random(5);
    const Layout layout = format.layout(kColumns);
    const std::size_t units = unit_count(layout, kRows, kColumns);
    PlaneBytes planes;
    for (const Plane& plane : layout.planes) {
      auto& bytes = planes.emplace_back(layout.bytes(plane, units));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    }
    expect_same_on_every_isa([&]() -> std::pair<bool, std::vector<std::uint32_t>> {
      try {
        return {true, bits_of(decode(format, unpack(format, planes, kRows * kColumns, kColumns),
                                     kRows * kColumns))};
      } catch (const Error&) {
        return {false, {}};  // bytes that no writer leaves behind may be refused
      }
    });
  });
}

TEST(Multiversion, NonFiniteValuesAreFoundAlike) {
  for (const std::size_t at : {0u, 7u, 63u, 99u}) {
    std::vector<float> values = gaussian(100, 6);
    expect_same_on_every_isa([&] { return first_non_finite(values).has_value(); });
    values[at] = std::numeric_limits<float>::infinity();
    expect_same_on_every_isa([&] { return first_non_finite(values).value_or(values.size()); });
  }
}

}  // namespace
}  // namespace assay::test
