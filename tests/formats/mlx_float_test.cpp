// MLX's floating-point groups: every scale byte and every code by definition.
#include "assay/formats/mlx_float.h"

#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

/// Sign, `exponent_bits` of exponent, `mantissa_bits` of mantissa; no infinities.
double small_float(unsigned code, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const unsigned mantissa = code & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const bool negative = (code >> (mantissa_bits + exponent_bits) & 1) != 0;
  const double fraction = mantissa / static_cast<double>(1 << mantissa_bits);
  const double value =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return negative ? -value : value;
}

bool is_e4m3_nan(unsigned byte) {
  return (byte & 0x7F) == 0x7F;
}

Encoded one_group(const Format& format, const std::vector<std::byte>& codes, unsigned scale) {
  const std::size_t group = format.layout(32).run;
  return unpack(format, {codes, {static_cast<std::byte>(scale)}}, group, group);
}

TEST(MlxFloat, EveryPowerOfTwoScale) {
  for (const char* name : {"mxfp4", "mxfp8"}) {
    const FormatPtr format = find_format(name);
    const std::vector<std::byte> codes(format->layout(32).planes[0].record_bytes, std::byte{0x11});
    std::string why;
    for (unsigned scale = 0; scale < 255; ++scale) {
      const Encoded group = one_group(*format, codes, scale);
      EXPECT_TRUE(format->valid(group.params[0], group.codes, &why)) << why;
      EXPECT_EQ(group.params[0].scale, std::ldexp(1.0, static_cast<int>(scale) - 127))
          << name << " " << scale;
    }
    const Encoded bad = one_group(*format, codes, 255);
    EXPECT_FALSE(format->valid(bad.params[0], bad.codes, &why));
    EXPECT_NE(why.find("scale"), std::string::npos);
  }
}

TEST(MlxFloat, EveryE4m3ScaleAndItsSign) {
  const FormatPtr nvfp4 = find_format("nvfp4");
  const std::vector<std::byte> codes = bytes_of("1032547698badcfe");
  std::string why;
  for (unsigned scale = 0; scale < 256; ++scale) {
    const Encoded group = one_group(*nvfp4, codes, scale);
    EXPECT_EQ(nvfp4->valid(group.params[0], group.codes, &why), !is_e4m3_nan(scale)) << scale;
    if (is_e4m3_nan(scale)) continue;
    const std::vector<float> decoded = decode(*nvfp4, group, 16);
    for (unsigned code = 0; code < 16; ++code)
      EXPECT_EQ(decoded[code], small_float(code, 2, 1) * small_float(scale, 4, 3)) << code << " " << scale;
  }
}

TEST(MlxFloat, EveryE4m3Code) {
  const FormatPtr mxfp8 = find_format("mxfp8");
  std::string why;
  for (unsigned code = 0; code < 256; ++code) {
    const Encoded group = one_group(*mxfp8, std::vector<std::byte>(32, static_cast<std::byte>(code)), 130);
    EXPECT_EQ(mxfp8->valid(group.params[0], group.codes, &why), !is_e4m3_nan(code)) << code;
    if (is_e4m3_nan(code)) continue;
    const float decoded = decode(*mxfp8, group, 32)[31];
    EXPECT_EQ(decoded, 8 * small_float(code, 4, 3));
    const auto [low, high] = mxfp8->range(group.params[0]);
    EXPECT_TRUE(low <= decoded && decoded <= high);
    EXPECT_EQ(high, 8 * 448.0f);
  }
  EXPECT_EQ(small_float(0x7E, 4, 3), 448.0);
}

TEST(MlxFloat, GlobalScaleMultipliesEveryWeight) {
  const FormatPtr plain = find_format("nvfp4"), scaled = nvfp4_with_global_scale(5376.0f);
  const Encoded group = one_group(*plain, bytes_of("ce40f6ad63e71c75"), 0x48);
  const std::vector<float> a = decode(*plain, group, 16), b = decode(*scaled, group, 16);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(b[i], 2.0f * a[i]);
  EXPECT_EQ(scaled->range(group.params[0]).second, 2.0f * plain->range(group.params[0]).second);
  EXPECT_EQ(scaled->name(), "nvfp4");
  EXPECT_ERROR(nvfp4_with_global_scale(std::numeric_limits<float>::infinity()), "global scale", "not finite");
}

}  // namespace
}  // namespace assay::test
