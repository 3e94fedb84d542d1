// Relative root mean square errors on N(0,1), as published for each format.
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

double relative_rms(const std::string& name) {
  constexpr std::size_t kColumns = 4096;
  const FormatPtr format = find_format(name);
  static const std::vector<float> weights = gaussian(32 * kColumns, 31);
  const std::vector<float> decoded = decode(*format, encode(*format, weights, kColumns), weights.size());
  double squares = 0, error = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double off = static_cast<double>(decoded[i]) - weights[i];
    squares += static_cast<double>(weights[i]) * weights[i];
    error += off * off;
  }
  return std::sqrt(error / squares);
}

TEST(Accuracy, MlxAffine) {
  struct Row {
    int bits;
    double g32, g64, g128;
  };
  const Row rows[] = {{2, .362, .394, .423}, {3, .171, .190, .207},    {4, .081, .091, .100},
                      {5, .039, .044, .049}, {6, .0193, .0217, .0240}, {8, .0048, .0054, .0059}};
  for (const Row& row : rows)
    for (const char* type : {"f16", "f32"}) {
      const std::string stem = fmt::format("mlx{}-g", row.bits);
      EXPECT_NEAR(relative_rms(stem + "32-" + type), row.g32, 0.015 * row.g32) << row.bits;
      EXPECT_NEAR(relative_rms(stem + "64-" + type), row.g64, 0.015 * row.g64) << row.bits;
      EXPECT_NEAR(relative_rms(stem + "128-" + type), row.g128, 0.015 * row.g128) << row.bits;
    }
  EXPECT_NEAR(relative_rms("mlx8-g32-bf16"), .0076, .0002);
  EXPECT_NEAR(relative_rms("mlx8-g64-bf16"), .0086, .0002);
  EXPECT_NEAR(relative_rms("mlx8-g128-bf16"), .0090, .0002);
}

TEST(Accuracy, BlocksOfThirtyTwo) {
  EXPECT_NEAR(relative_rms("khq4"), .0783, .001);
  EXPECT_NEAR(relative_rms("q4_1"), .0783, .001);
  EXPECT_NEAR(relative_rms("khq4-sym"), .0970, .001);
  EXPECT_NEAR(relative_rms("q4_0"), .0859, .001);
  EXPECT_NEAR(relative_rms("khw3"), .1679, .002);
  EXPECT_NEAR(relative_rms("khq3"), .1679, .002);
}

// The clips chosen for widths without a published k are the best for a normal distribution: these are the
// known errors of optimal uniform quantisers with 7, 15 and 31 levels.
TEST(Accuracy, SdclipBelowSixBits) {
  EXPECT_NEAR(relative_rms("int3-row-sdclip"), .2165, .002);
  EXPECT_NEAR(relative_rms("int4-row-sdclip"), .1135, .001);
  EXPECT_NEAR(relative_rms("int5-row-sdclip"), .0608, .0006);
  EXPECT_NEAR(relative_rms("int6-row-sdclip"), 12.85 / 31 / std::sqrt(12.0), .002);
}

}  // namespace
}  // namespace assay::test
