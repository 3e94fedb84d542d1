// The vector forms of rounding against the library's, at every tie and beside it.
#include "assay/formats/rounding.h"

#include <limits>

#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

std::vector<float> hard_values(float limit) {
  std::vector<float> values = {0.0f, -0.0f, 0.49999997f, 0.5f, 0.50000006f, 1e-45f};
  for (float tie = 0.5f; tie < limit; tie += 0.5f) {
    float below = tie, above = tie;
    for (int ulp = 0; ulp < 4; ++ulp) {
      values.insert(values.end(), {below, above, -below, -above});
      below = std::nextafter(below, 0.0f);
      above = std::nextafter(above, 1e9f);
    }
  }
  for (float value = 0.001f; value < limit; value *= 1.00001f) values.push_back(value);
  return values;
}

TEST(Rounding, HalfAwayFromZero) {
  for (const float value : hard_values(299.0f)) ASSERT_EQ(round_half_away(value), std::round(value)) << value;
}

TEST(Rounding, HalfToEven) {
  for (const float value : hard_values(299.0f))
    ASSERT_EQ(round_half_even(value), std::nearbyint(value)) << value;
}

TEST(Rounding, ClampTurnsNanIntoTheLowEnd) {
  EXPECT_EQ(clamp(std::numeric_limits<float>::quiet_NaN(), -2.0f, 3.0f), -2.0f);
  EXPECT_EQ(clamp(std::numeric_limits<float>::infinity(), -2.0f, 3.0f), 3.0f);
  EXPECT_EQ(clamp(-5.0f, -2.0f, 3.0f), -2.0f);
  EXPECT_EQ(clamp(0.25f, -2.0f, 3.0f), 0.25f);
}

}  // namespace
}  // namespace assay::test
