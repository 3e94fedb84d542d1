// Floats stored one by one: GF16 over all its codes, f16 and bf16 at their limits.
#include "assay/formats/gf16.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

/// The definition, in double: sign, exponent, mantissa.
double gf16_value(unsigned code) {
  const unsigned exponent = (code >> 9) & 63, mantissa = code & 511;
  const double sign = (code & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(mantissa / 512.0, -30);
  return sign * std::ldexp(1.0 + mantissa / 512.0, static_cast<int>(exponent) - 31);
}

TEST(Gf16, EveryFiniteCodeDecodesByDefinitionAndReturns) {
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = gf16_to_f32(static_cast<std::uint16_t>(code));
    const unsigned magnitude = code & 0x7FFF;
    if (magnitude == kGf16Infinity) {
      EXPECT_TRUE(std::isinf(value)) << code;
    } else if (magnitude > kGf16Infinity) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      ASSERT_EQ(value, gf16_value(code)) << code;
      ASSERT_EQ(std::signbit(value), code >= 0x8000) << code;
      ASSERT_EQ(f32_to_gf16(value), code);
      ASSERT_EQ(weight_to_gf16(value), code);
    }
    if (code > 0 && code <= 0x7DFF) {
      ASSERT_GT(value, gf16_to_f32(static_cast<std::uint16_t>(code - 1)));
    }
  }
}

TEST(Gf16, RoundsToNearestTiesToEvenBetweenAllNeighbours) {
  for (unsigned code = 0; code < 0x7DFF; ++code) {
    const double low = gf16_value(code), high = gf16_value(code + 1);
    const float middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(middle, (low + high) / 2);
    ASSERT_EQ(f32_to_gf16(middle), code + (code & 1)) << code;
    ASSERT_EQ(f32_to_gf16(std::nextafter(middle, 0.0f)), code);
    ASSERT_EQ(f32_to_gf16(std::nextafter(middle, 1e38f)), code + 1);
    ASSERT_EQ(f32_to_gf16(-middle), 0x8000 + code + (code & 1));
  }
}

TEST(Gf16, TableOfTheDefinition) {
  const std::pair<double, unsigned> table[] = {{1, 0x3E00},
                                               {-1, 0xBE00},
                                               {0.5, 0x3C00},
                                               {2, 0x4000},
                                               {-0.0, 0x8000},
                                               {65504, 0x5E00},
                                               {1 + 1.0 / 1024, 0x3E00},
                                               {1 + 3.0 / 1024, 0x3E02},
                                               {1 + 1.0 / 1024 + 0x1p-20, 0x3E01},
                                               {0.1f, 0x3733},
                                               {3.14159265358979, 0x4124},
                                               {-2.71828182845905, 0xC0B8},
                                               {0x1p-40, 0x0000},
                                               {1.5 * 0x1p-40, 0x0001},
                                               {(1 - 0x1p-10) * 0x1p-30, 0x0200},
                                               {(2 - 0x1p-10) * 0x1p31, 0x7DFF},
                                               {0x1p32, 0x7DFF},
                                               {1e30, 0x7DFF},
                                               {-1e30, 0xFDFF},
                                               {0x1p-31, 0x0100},
                                               {1e-45, 0x0000},
                                               {-1e-45, 0x8000}};
  for (const auto& [value, code] : table) EXPECT_EQ(weight_to_gf16(static_cast<float>(value)), code) << value;
}

TEST(Gf16, WeightsBeyondTheLargestSaturate) {
  const FormatPtr gf16 = find_format("gf16");
  const Encoded encoded = encode(*gf16, {1e30f, -5e9f, 0x1p32f, 1.0f + 1.0f / 1024}, 4);
  EXPECT_EQ(encoded.codes, (std::vector<Code>{0x7DFF, 0xFDFF, 0x7DFF, 0x3E00}));
}

TEST(Gf16, ArithmeticConversionKeepsInfinityAndNan) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(f32_to_gf16(kInfinity), 0x7E00);
  EXPECT_EQ(f32_to_gf16(-kInfinity), 0xFE00);
  EXPECT_EQ(f32_to_gf16(std::numeric_limits<float>::quiet_NaN()), 0x7F00);
  EXPECT_EQ(f32_to_gf16(-std::numeric_limits<float>::quiet_NaN()), 0xFF00);
  EXPECT_EQ(f32_to_gf16(1e30f), 0x7E00);
  EXPECT_EQ(f32_to_gf16(4292870144.0f), 0x7E00);  // the tie beyond the largest
  EXPECT_EQ(f32_to_gf16(4292869888.0f), 0x7DFF);
}

TEST(Gf16, RelativeErrorIsAsPublished) {
  const std::vector<float> values = gaussian(100000, 11);
  double squares = 0, error = 0, largest = 0;
  for (const float value : values) {
    const double off = gf16_to_f32(weight_to_gf16(value)) - static_cast<double>(value);
    squares += static_cast<double>(value) * value;
    error += off * off;
    largest = std::max(largest, std::fabs(off / value));
  }
  EXPECT_NEAR(error / squares, 1.72e-7, 0.02e-7);
  EXPECT_LE(largest, 0.000977);
}

TEST(Floats, OverflowOfF16IsAnErrorThatNamesTheElement) {
  for (const char* name : {"f16", "khf1"}) {
    const FormatPtr format = find_format(name);
    std::vector<float> weights = {1.0f, 65504.0f, 65519.99f, -65519.99f};
    EXPECT_EQ(hex(pack(*format, encode(*format, weights, 4), 4)[0]), "003cff7bff7bfffb");
    weights[2] = 65520.0f;
    EXPECT_ERROR(encode(*format, weights, 4), "element 2:", "65520", "65504");
    weights[2] = -1e30f;
    std::vector<Code> codes(4);
    std::vector<float> out(4);
    EXPECT_ERROR(format->round({}, weights, codes, out), "element 2:");
  }
  const FormatPtr bf16 = find_format("bf16");
  EXPECT_ERROR(encode(*bf16, {0.0f, 3.4e38f}, 2), "element 1:");
  EXPECT_EQ(hex(pack(*bf16, encode(*bf16, {0x1.FEp127f, -0.0f}, 2), 2)[0]), "7f7f0080");
}

TEST(Floats, StoredInfinitiesAndNansAreRefused) {
  const std::pair<const char*, std::vector<Code>> bad[] = {
      {"f16", {0x7C00, 0xFC00, 0x7E00, 0xFFFF}},
      {"khf1", {0x7C00, 0x7C01}},
      {"bf16", {0x7F80, 0xFF80, 0x7FC0}},
      {"gf16", {0x7E00, 0xFE00, 0x7F00}},
      {"f32", {0x7F800000, 0x7FC00000, static_cast<Code>(0xFF800000u)}}};
  for (const auto& [name, codes] : bad)
    for (const Code code : codes) {
      std::string why;
      EXPECT_FALSE(find_format(name)->valid({}, std::vector<Code>{0, 1, code}, &why)) << name << " " << code;
      EXPECT_NE(why.find("element 2 "), std::string::npos) << why;
      EXPECT_TRUE(find_format(name)->valid({}, std::vector<Code>{0, 1, 2}, &why));
    }
}

TEST(Floats, F32KeepsEveryBit) {
  const FormatPtr f32 = find_format("f32");
  const std::vector<float> weights = {-0.0f, 1e-45f, -3.4e38f, 0.1f};
  const std::vector<float> decoded = decode(*f32, encode(*f32, weights, 4), 4);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(same_bits(decoded[i], weights[i]));
}

TEST(Floats, RangeIsTheLargestFiniteValue) {
  EXPECT_EQ(find_format("f16")->range({}), (std::pair{-65504.0f, 65504.0f}));
  EXPECT_EQ(find_format("gf16")->range({}).second, 4290772992.0f);
  EXPECT_EQ(find_format("bf16")->range({}).second, 0x1.FEp127f);
  EXPECT_EQ(find_format("f32")->range({}).second, std::numeric_limits<float>::max());
  EXPECT_FALSE(find_format("bf16")->affine().has_value());
}

}  // namespace
}  // namespace assay::test
