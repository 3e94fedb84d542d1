#include "assay/base/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace assay {
namespace {

TEST(Half, PublishedVectors) {
  const struct {
    float value;
    std::uint16_t bits;
  } vectors[] = {{0x1p-14f, 0x0400}, {0x1p-15f, 0x0200},   {0x1p-24f, 0x0001},
                 {0x1p-25f, 0x0000}, {0x1.8p-25f, 0x0001}, {65519.99f, 0x7BFF},
                 {65520.0f, 0x7C00}, {0.1f, 0x2E66},       {-0.0f, 0x8000},
                 {1e-40f, 0x0000},   {-1e-40f, 0x8000},    {std::numeric_limits<float>::infinity(), 0x7C00}};
  for (const auto& [value, bits] : vectors) EXPECT_EQ(f32_to_f16(value), bits) << value;
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::quiet_NaN()) & 0x7E00, 0x7E00);
}

TEST(Half, EveryF16RoundTrips) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_f16(value), bits);
  }
}

TEST(Half, EveryTieBetweenF16NeighboursGoesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = f16_to_f32(static_cast<std::uint16_t>(bits));
    const float high = f16_to_f32(static_cast<std::uint16_t>(bits + 1));
    const float middle = static_cast<float>((static_cast<double>(low) + static_cast<double>(high)) / 2);
    ASSERT_EQ(f32_to_f16(middle), bits + (bits & 1u));
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), bits + 1);
  }
}

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0f), 0x3F80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // tie to even
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(std::bit_cast<float>(0x7F800001u)))));
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bf16_to_f32(static_cast<std::uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_bf16(value), bits);
  }
}

}  // namespace
}  // namespace assay
