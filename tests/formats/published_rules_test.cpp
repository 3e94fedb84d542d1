// The published fits once more, as plainly as the formats' descriptions state them: scalar, with the
// library's rounding. Bytes must agree on data full of ties.
#include <algorithm>

#include "assay/base/half.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

constexpr std::size_t kColumns = 128;

std::vector<float> data() {
  std::vector<float> weights = gaussian(64 * kColumns, 21);
  for (std::size_t row = 0; row < 64; ++row)
    for (std::size_t i = row * kColumns; i < (row + 1) * kColumns; ++i) {
      if (row % 4 == 1) weights[i] = std::nearbyint(weights[i] * 16.0f) / 8.0f;  // ties
      if (row % 4 == 2) weights[i] = weights[i] * 0.02f + (row % 8 == 2 ? 0.1f : -0.1f);
      if (row % 4 == 3) weights[i] = std::nearbyint(weights[i] * 2.0f);
    }
  return weights;
}

struct Unit {
  float scale, bias;
  std::vector<float> codes;
};

using Rule = std::function<Unit(std::span<const float>)>;

void expect_rule(const std::string& name, std::size_t run, const Rule& rule) {
  SCOPED_TRACE(name);
  const std::vector<float> weights = data();
  const Encoded encoded = encode(*find_format(name), weights, kColumns);
  ASSERT_EQ(encoded.params.size(), weights.size() / run);
  for (std::size_t unit = 0; unit < encoded.params.size(); ++unit) {
    const Unit expected = rule(std::span(weights).subspan(unit * run, run));
    ASSERT_EQ(encoded.params[unit].scale, expected.scale) << "unit " << unit;
    ASSERT_EQ(encoded.params[unit].bias, expected.bias) << "unit " << unit;
    for (std::size_t i = 0; i < run; ++i)
      ASSERT_EQ(encoded.codes[unit * run + i], expected.codes[i]) << "unit " << unit << ", element " << i;
  }
}

float smallest(std::span<const float> w) {
  return *std::min_element(w.begin(), w.end());
}
float largest(std::span<const float> w) {
  return *std::max_element(w.begin(), w.end());
}
float magnitude(std::span<const float> w) {
  return std::max(largest(w), -smallest(w));
}

std::vector<float> coded(std::span<const float> w, const std::function<float(float)>& code) {
  std::vector<float> codes;
  for (const float value : w) codes.push_back(code(value));
  return codes;
}

TEST(PublishedRules, KhAsymmetric) {
  for (const auto& [name, levels] : {std::pair{"khq4", 15.0f}, {"khw3", 7.0f}, {"khq3", 7.0f}})
    expect_rule(name, 32, [levels = levels](std::span<const float> w) {
      const float low = smallest(w);
      float scale = (largest(w) - low) / levels;
      if (through_f16(scale) == 0.0f) scale = 1.0f;
      const float inverse = 1.0f / scale;
      return Unit{through_f16(scale), through_f16(low), coded(w, [&](float v) {
                    return std::clamp(std::round((v - low) * inverse), 0.0f, levels);
                  })};
    });
}

TEST(PublishedRules, BlockAffineIsTheSameRuleOnOtherGroups) {
  for (const int bits : {2, 3, 4})
    for (const std::size_t group : {16u, 32u, 64u, 128u}) {
      const auto levels = static_cast<float>((1 << bits) - 1);
      expect_rule(fmt::format("block-affine{}-g{}-stream", bits, group), group,
                  [levels](std::span<const float> w) {
                    const float low = smallest(w);
                    float scale = (largest(w) - low) / levels;
                    if (through_f16(scale) == 0.0f) scale = 1.0f;
                    const float inverse = 1.0f / scale;
                    return Unit{through_f16(scale), through_f16(low), coded(w, [&](float v) {
                                  return std::clamp(std::round((v - low) * inverse), 0.0f, levels);
                                })};
                  });
    }
}

// 128 magnitudes: the quantile lies between the two largest. Rows below 1 have steps of 1/127, and a weight
// beyond the clip the clip's code.
TEST(PublishedRules, GolfClipsAtAQuantileAndNeverStepsFinerThanOneIn127) {
  expect_rule("int8-golf", kColumns, [](std::span<const float> w) {
    std::vector<float> sizes;
    for (const float v : w) sizes.push_back(std::fabs(v));
    std::ranges::sort(sizes);
    const double rank = 0.9999984 * static_cast<double>(sizes.size() - 1);
    const auto at = static_cast<std::size_t>(rank);
    const double between = rank - static_cast<double>(at), below = sizes[at], above = sizes[at + 1];
    const auto clip = static_cast<float>(below + between * (above - below));
    const float scale = std::max(clip / 127.0f, 1.0f / 127.0f);
    return Unit{through_f16(scale), 0.0f, coded(w, [&](float v) {
                  return std::clamp(std::nearbyint(std::clamp(v, -clip, clip) / scale), -127.0f, 127.0f);
                })};
  });
  std::vector<float> row(5, 0.5f);
  row[3] = -0.9f;
  std::vector<float> large(700'000, 0.25f);
  large[5] = 0.9f;  // the quantile is beside it
  const Encoded small = encode(*find_format("int8-golf"), row, row.size());
  EXPECT_EQ(small.codes[3], -114);
  const Encoded clipped = encode(*find_format("int8-golf"), large, large.size());
  EXPECT_EQ(clipped.codes[5], 32);  // .25 * 127
  EXPECT_EQ(clipped.params[0].scale, through_f16(1.0f / 127.0f));
}

TEST(PublishedRules, KhSymmetric) {
  for (const auto& [name, reach, middle] : {std::tuple{"khq4-sym", 7.0f, 8.0f}, {"khq3-sym", 3.5f, 4.0f}})
    expect_rule(name, 32, [reach = reach, middle = middle](std::span<const float> w) {
      float scale = magnitude(w) / reach;
      if (through_f16(scale) == 0.0f) scale = 1.0f;
      const float inverse = 1.0f / scale;
      return Unit{through_f16(scale), through_f16(-middle * scale), coded(w, [&](float v) {
                    return std::clamp(std::round(v * inverse) + middle, 0.0f, 2 * middle - 1);
                  })};
    });
}

TEST(PublishedRules, Q8_0) {
  expect_rule("q8_0", 32, [](std::span<const float> w) {
    const float scale = magnitude(w) / 127.0f, inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    return Unit{through_f16(scale), 0.0f, coded(w, [&](float v) { return std::round(v * inverse); })};
  });
}

TEST(PublishedRules, Q4_0) {
  expect_rule("q4_0", 32, [](std::span<const float> w) {
    float extreme = 0.0f;
    for (const float v : w)
      if (std::fabs(v) > std::fabs(extreme)) extreme = v;
    const float scale = extreme / -8.0f, inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    return Unit{through_f16(scale), 0.0f,
                coded(w, [&](float v) { return std::min(15.0f, std::trunc(v * inverse + 8.5f)); })};
  });
}

TEST(PublishedRules, Q4_1) {
  expect_rule("q4_1", 32, [](std::span<const float> w) {
    const float low = smallest(w), scale = (largest(w) - low) / 15.0f,
                inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    return Unit{through_f16(scale), through_f16(low),
                coded(w, [&](float v) { return std::min(15.0f, std::trunc((v - low) * inverse + 0.5f)); })};
  });
}

TEST(PublishedRules, MlxAffine) {
  for (const int bits : {2, 3, 4, 5, 6, 8})
    for (const std::size_t group : {32, 64, 128})
      for (const char* type : {"f16", "bf16", "f32"}) {
        const auto stored = [&](float value) {
          return type[0] == 'b' ? through_bf16(value) : type[1] == '1' ? through_f16(value) : value;
        };
        expect_rule(fmt::format("mlx{}-g{}-{}", bits, group, type), group, [&](std::span<const float> w) {
          const float levels = static_cast<float>((1 << bits) - 1), low = smallest(w), high = largest(w);
          const bool low_end = std::fabs(low) > std::fabs(high);
          float scale = std::max((high - low) / levels, 1e-7f), bias = 0.0f;
          if (!low_end) scale = -scale;
          const float edge = low_end ? low : high, edge_code = std::nearbyint(edge / scale);
          if (edge_code != 0.0f) {
            scale = edge / edge_code;
            bias = edge;
          }
          return Unit{stored(scale), stored(bias), coded(w, [&](float v) {
                        return std::clamp(std::nearbyint((v - bias) / scale), 0.0f, levels);
                      })};
        });
      }
}

TEST(PublishedRules, IntegersPerRow) {
  for (const int bits : {3, 4, 5, 6, 7, 8})
    for (const bool f32 : {false, true})
      expect_rule(fmt::format("int{}-row{}", bits, f32 ? "-f32" : ""), kColumns,
                  [&](std::span<const float> w) {
                    const float limit = static_cast<float>((1 << (bits - 1)) - 1);
                    const float scale = f32 ? magnitude(w) / limit : through_f16(magnitude(w) / limit);
                    return Unit{scale, 0.0f, coded(w, [&](float v) {
                                  return std::clamp(std::nearbyint(v / scale), -limit, limit);
                                })};
                  });
}

// The float below one half: adding 0.5 to it gives 1.
TEST(PublishedRules, JustBelowHalfAStepRoundsToZero) {
  for (const auto& [name, top] :
       {std::pair{"khq4", 15.0f}, {"khw3", 7.0f}, {"khq4-sym", 7.0f}, {"q8_0", 127.0f}}) {
    std::vector<float> block(32, 0.0f);
    block[0] = top;  // step 1
    block[1] = 0.49999997f;
    block[2] = 0.5f;
    const Encoded encoded = encode(*find_format(name), block, 32);
    ASSERT_EQ(encoded.params[0].scale, 1.0f) << name;
    EXPECT_EQ(encoded.codes[1], encoded.codes[3]) << name;
    EXPECT_EQ(encoded.codes[2], encoded.codes[3] + 1) << name;
  }
}

// 1 / d overflows there and counts as 0: every code is that of zero.
TEST(PublishedRules, GgufBlocksOfDenormalsAreZeroBlocks) {
  std::vector<float> block(32, 0.0f);
  block[5] = 1e-40f;
  block[6] = -2e-40f;
  EXPECT_EQ(encode(*find_format("q4_0"), block, 32).codes, std::vector<Code>(32, 8));
  EXPECT_EQ(encode(*find_format("q4_1"), block, 32).codes, std::vector<Code>(32, 0));
  EXPECT_EQ(encode(*find_format("q8_0"), block, 32).codes, std::vector<Code>(32, 0));
}

TEST(PublishedRules, Q8_0NeverUsesTheMostNegativeCode) {
  const FormatPtr q8_0 = find_format("q8_0");
  EXPECT_EQ(q8_0->affine()->first_code, -127);
  std::vector<Code> codes(1);
  std::vector<float> out(1);
  q8_0->round(std::vector<Params>{{1.0f, 0.0f}}, std::vector<float>{-200.0f}, codes, out);
  EXPECT_EQ(codes[0], -127);
  std::string why;
  EXPECT_FALSE(q8_0->valid({1.0f, 0.0f}, std::vector<Code>{0, -128}, &why));
  EXPECT_NE(why.find("-128"), std::string::npos);
}

// Equal magnitudes of both signs: the first one decides the sign of the scale.
TEST(PublishedRules, Q4_0TakesTheFirstExtreme) {
  std::vector<float> block(32, 0.5f);
  block[3] = 8.0f;
  block[4] = -8.0f;
  EXPECT_EQ(encode(*find_format("q4_0"), block, 32).params[0].scale, -1.0f);
  std::swap(block[3], block[4]);
  EXPECT_EQ(encode(*find_format("q4_0"), block, 32).params[0].scale, 1.0f);
}

TEST(PublishedRules, ZeroMinimaKeepTheRulesOwnSign) {
  std::vector<float> mixed(32, 1.0f);
  mixed[3] = -0.0f;
  mixed[9] = 0.0f;
  // lattice blocks: +0 whenever there is one; MLX and GGUF: the first zero.
  EXPECT_EQ(hex(pack(*find_format("khq4"), encode(*find_format("khq4"), mixed, 32), 32)[0]).substr(4, 4),
            "0000");
  EXPECT_EQ(hex(pack(*find_format("q4_1"), encode(*find_format("q4_1"), mixed, 32), 32)[0]).substr(4, 4),
            "0080");
  EXPECT_EQ(hex(pack(*find_format("mlx1-g32-f16"), encode(*find_format("mlx1-g32-f16"), mixed, 32), 32)[2]),
            "0080");
  mixed[9] = -0.0f;
  EXPECT_EQ(hex(pack(*find_format("khq4"), encode(*find_format("khq4"), mixed, 32), 32)[0]).substr(4, 4),
            "0080");
}

}  // namespace
}  // namespace assay::test
