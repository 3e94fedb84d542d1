// Integers per row: the clip rules, the house's corrections, packed rows.
#include "assay/formats/int_row.h"

#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

TEST(IntRow, AbsmaxIsHalfTheCodesTimesTheScale) {
  const std::vector<float> row = {-4.0f, 1.0f, 3.9f, 0.0f, 2.0f, -2.0f, 0.5f, 4.0f};
  for (int bits = 3; bits <= 8; ++bits) {
    const FormatPtr format = find_format(fmt::format("int{}-row-f32", bits));
    const float largest = static_cast<float>((1 << (bits - 1)) - 1);
    const Encoded encoded = encode(*format, row, row.size());
    EXPECT_EQ(encoded.params[0].scale, 4.0f / largest);
    for (std::size_t i = 0; i < row.size(); ++i)
      EXPECT_EQ(encoded.codes[i], std::nearbyint(row[i] / (4.0f / largest))) << bits << " bits";
  }
}

TEST(IntRow, SdclipCutsAtKDeviationsOfTheSample) {
  const std::vector<float> row = seeded(5, 200);
  double mean = 0, squares = 0;
  for (const float w : row) mean += w / 200.0;
  for (const float w : row) squares += (w - mean) * (w - mean);
  for (int bits = 3; bits <= 8; ++bits) {
    const double clip = default_deviations(bits) * std::sqrt(squares / 199.0);
    const FormatPtr format = find_format(fmt::format("int{}-row-sdclip-f32", bits));
    const float scale = encode(*format, row, 200).params[0].scale;
    EXPECT_NEAR(scale, clip / ((1 << (bits - 1)) - 1), 1e-6 * scale) << bits << " bits";
  }
  EXPECT_EQ(default_deviations(6), 12.85);
  EXPECT_EQ(default_deviations(7), 14.5);
  EXPECT_EQ(default_deviations(8), 20.0);
}

TEST(IntRow, DeviationSurvivesALargeMean) {
  std::vector<float> row(256);
  for (std::size_t i = 0; i < row.size(); ++i) row[i] = 8192.0f + (i % 2 == 0 ? 1.0f : -1.0f);
  const float scale = encode(*find_format("int8-row-sdclip-f32"), row, row.size()).params[0].scale;
  EXPECT_NEAR(scale, 20.0 * std::sqrt(256.0 / 255.0) / 127.0, 1e-6);
}

TEST(IntRow, DegenerateRowsFallBackToAbsmax) {
  const FormatPtr sdclip = find_format("int6-row-sdclip"), absmax = find_format("int6-row");
  for (const std::vector<float>& row : {std::vector<float>(32, 2.5f), std::vector<float>(1, -3.0f)}) {
    const Encoded a = encode(*sdclip, row, row.size()), b = encode(*absmax, row, row.size());
    EXPECT_EQ(a.params[0].scale, b.params[0].scale);
    EXPECT_EQ(a.codes, b.codes);
  }
  for (const FormatPtr& format : {sdclip, absmax}) {
    const Encoded zeros = encode(*format, std::vector<float>(32, -0.0f), 32);
    EXPECT_EQ(zeros.params[0].scale, 1.0f);
    EXPECT_EQ(zeros.codes, std::vector<Code>(32, 0));
  }
}

TEST(IntRow, ScalesBeyondF16SuggestTheF32Variant) {
  std::vector<float> rows(64, 1.0f);
  for (std::size_t i = 32; i < 64; ++i) rows[i] = 1e-9f;
  EXPECT_ERROR(encode(*find_format("int8-row"), rows, 32), "row 1", "element 32", "F16", "int8-row-f32");
  EXPECT_NO_THROW(encode(*find_format("int8-row-f32"), rows, 32));
  EXPECT_ERROR(encode(*find_format("int6-row-i8"), std::vector<float>(32, 3e6f), 32), "row 0",
               "int6-row-i8-f32");
  EXPECT_ERROR(encode(*find_format("int4-row-sdclip"), rows, 32), "int4-row-sdclip-f32");
  EXPECT_ERROR(encode(*find_format("int8-row-f32"), std::vector<float>(32, 1e-45f), 32), "row 0", "F32");
}

TEST(IntRow, EveryRowLengthPacksAndKeepsItsCodes) {
  for (int bits = 3; bits <= 8; ++bits)
    for (const char* variant : {"", "-i8", "-f32"}) {
      if (bits == 8 && std::string(variant) == "-i8") continue;
      const FormatPtr format = find_format(fmt::format("int{}-row{}", bits, variant));
      for (std::size_t columns = 1; columns <= 40; ++columns) {
        const std::vector<float> weights = gaussian(3 * columns, static_cast<unsigned>(columns));
        const Encoded encoded = encode(*format, weights, columns);
        const Encoded again = unpack(*format, pack(*format, encoded, columns), weights.size(), columns);
        ASSERT_EQ(again.codes, encoded.codes) << format->name() << ", " << columns << " columns";
        ASSERT_EQ(again.params[2].scale, encoded.params[2].scale);
      }
      // Longer than one batch of the packer.
      const std::vector<float> weights = gaussian(2 * 1531, 3);
      const Encoded encoded = encode(*format, weights, 1531);
      ASSERT_EQ(unpack(*format, pack(*format, encoded, 1531), weights.size(), 1531).codes, encoded.codes);
    }
}

TEST(IntRow, PackedBytesAreOneStreamOfShiftedCodes) {
  const FormatPtr format = find_format("int3-row");
  const Encoded row{{{1.0f, 0.0f}}, {-3, 3, 0, -1, 2}};  // as 1, 7, 4, 3, 6
  EXPECT_EQ(hex(pack(*format, row, 5)[0]), "3967");      // 1 | 7<<3 | 4<<6 | 3<<9 | 6<<12 = 0x6739
}

TEST(IntRow, SpareBitsMustBeZero) {
  const FormatPtr format = find_format("int3-row");
  PlaneBytes planes = {bytes_of("39673967"), bytes_of("003c003c")};
  EXPECT_EQ(unpack(*format, planes, 10, 5).codes[9], 2);
  planes[0][3] = std::byte{0xE7};
  EXPECT_ERROR(unpack(*format, planes, 10, 5), "row 1", "not zero");
}

TEST(IntRow, TheMostNegativeIntegerIsNoCode) {
  std::string why;
  for (int bits = 3; bits <= 8; ++bits) {
    const Code lowest = -(1 << (bits - 1));
    const FormatPtr format = find_format(fmt::format("int{}-row", bits));
    EXPECT_FALSE(format->valid({1.0f, 0.0f}, std::vector<Code>{0, lowest}, &why));
    EXPECT_TRUE(format->valid({1.0f, 0.0f}, std::vector<Code>{0, lowest + 1, -lowest - 1}, &why));
  }
  const FormatPtr packed = find_format("int3-row");
  EXPECT_EQ(unpack(*packed, {bytes_of("00"), bytes_of("003c")}, 1, 1).codes[0], -4);
  EXPECT_EQ(unpack(*find_format("int8-row"), {bytes_of("80"), bytes_of("003c")}, 1, 1).codes[0], -128);
}

}  // namespace
}  // namespace assay::test
