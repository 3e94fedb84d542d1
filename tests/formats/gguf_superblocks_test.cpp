// llama.cpp's k-quants and non-linear types: every bit as PyPI's gguf package decodes it, bytes that survive
// being taken apart, what is refused, and how good our own choice of what to write is.
#include <algorithm>

#include "assay/base/file.h"
#include "assay/base/half.h"
#include "assay/formats/superblock_fit.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

constexpr std::size_t kBlocks = 64;

struct Golden {
  const char* format;
  std::vector<std::size_t> halves;  // where each block keeps its f16 numbers
  const char* sha256;               // of the decoded f32: superblock_golden.py
};

const std::vector<Golden>& golden_blocks() {
  static const std::vector<Golden> golden = {
      {"q2_k", {80, 82}, "14d293e1e5d13ca97290dd9c2bc1c8460ce874adff4cb70023764fb2f9bf21f5"},
      {"q3_k", {108}, "d3ef3e5ff178a36eb4b0a4e9b72f3349bc0a43b0b794381c0e2c92ff8bafe3dd"},
      {"q4_k", {0, 2}, "7f02fd4e620bf75483a27363b7d172aae2272284d0515927685b8639dfe427da"},
      {"q5_k", {0, 2}, "f0e62b7960f25eb0446311024b63e2680552f978dc00214b18e9ea4af0f04c6d"},
      {"q6_k", {208}, "644869599f4fee5bb60e288015f5e4853bd39547897d96422b7a59ea2a81ed85"},
      {"iq4_nl", {0}, "222c65f565d710c7fb6bd172865a5be5debab40268072a44f695c65560e20ff2"},
      {"iq4_xs", {0}, "4f9e8f6e465154684fa188504c883aa3d0bf28bc9ffa58c60112be419a4c5db9"}};
  return golden;
}

/// The bytes that superblock_golden.py makes up.
std::vector<std::byte> made_up_blocks(std::size_t size, const std::vector<std::size_t>& halves) {
  std::uint64_t state = 12345;
  std::vector<std::byte> bytes(kBlocks * size);
  for (std::byte& byte : bytes) {
    state = (state * 1103515245 + 12345) % (std::uint64_t{1} << 31);
    byte = static_cast<std::byte>(state >> 16 & 0xFF);
  }
  for (std::size_t block = 0; block < kBlocks; ++block)
    for (const std::size_t half : halves) bytes[block * size + half + 1] &= std::byte{0xBF};
  return bytes;
}

TEST(GgufSuperblocks, DecodeBitForBitAsTheGgufPackage) {
  for (const Golden& entry : golden_blocks()) {
    const FormatPtr format = find_format(entry.format);
    ASSERT_NE(format, nullptr) << entry.format;
    const Layout layout = format->layout(256);
    const auto bytes = made_up_blocks(layout.planes[0].record_bytes, entry.halves);
    const std::size_t weights = kBlocks * layout.record_run();
    const Encoded blocks = unpack(*format, {bytes}, weights, weights);
    std::string why;
    for (std::size_t unit = 0; unit < blocks.params.size(); ++unit)
      EXPECT_TRUE(format->valid(blocks.params[unit],
                                std::span(blocks.codes).subspan(unit * layout.run, layout.run), &why))
          << entry.format << ": " << why;
    const std::vector<float> decoded = decode(*format, blocks, weights);
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(decoded))), entry.sha256) << entry.format;
    for (std::size_t i = 0; i < weights; ++i) {
      const auto [low, high] = format->range(blocks.params[i / layout.run]);
      ASSERT_TRUE(low <= decoded[i] && decoded[i] <= high) << entry.format << " " << i;
    }
  }
}

TEST(GgufSuperblocks, EveryBitSurvivesBeingTakenApart) {
  for (const Golden& entry : golden_blocks()) {
    const FormatPtr format = find_format(entry.format);
    const Layout layout = format->layout(256);
    const std::size_t weights = kBlocks * layout.record_run();
    const PlaneBytes bytes = {made_up_blocks(layout.planes[0].record_bytes, entry.halves)};
    EXPECT_EQ(pack(*format, unpack(*format, bytes, weights, weights), weights), bytes) << entry.format;
  }
}

TEST(GgufSuperblocks, RefuseScalesThatAreNoNumbersAndForeignCodes) {
  const FormatPtr format = find_format("q4_k");
  std::string why;
  for (const std::size_t half : {0u, 2u}) {
    std::vector<std::byte> bytes(144);
    bytes[half + 1] = std::byte{0x7C};  // infinity
    const Encoded block = unpack(*format, {bytes}, 256, 256);
    EXPECT_FALSE(format->valid(block.params[0], std::span(block.codes).first(32), &why));
    EXPECT_NE(why.find("not finite"), std::string::npos) << why;
  }
  const std::vector<Code> codes(32);
  const Params unit = *format->store(1.0f, -0.5f);
  EXPECT_TRUE(format->valid(unit, codes, &why)) << why;
  const auto refused = [&](const Params& params, const char* reason) {
    EXPECT_FALSE(format->valid(params, codes, &why)) << reason;
    EXPECT_NE(why.find(reason), std::string::npos) << why;
  };
  Params other = unit;
  other.scale = 0.75f;
  refused(other, "scale 0.75");
  other = unit;
  other.bias = -0.25f;
  refused(other, "bias -0.25");
  other = {64.0f, -0.5f, unit.sub};
  other.sub.scale = 64;  // six bits hold 63
  refused(other, "scale 64");
  other = {1.0f, -32.0f, unit.sub};
  other.sub.minimum = 64;
  refused(other, "minimum 64");
  const FormatPtr levels = find_format("iq4_nl");
  const Params level_unit = unpack(*levels, {std::vector<std::byte>(18)}, 32, 32).params[0];
  EXPECT_TRUE(levels->valid(level_unit, std::vector<Code>(32, 1), &why)) << why;
  EXPECT_FALSE(levels->valid(level_unit, std::vector<Code>(32, 2), &why));
  EXPECT_NE(why.find("code 2"), std::string::npos) << why;
}

/// The units of a record move on the grid that its first two numbers span, and nowhere else.
TEST(GgufSuperblocks, ParametersMoveBesideTheirNeighbours) {
  for (const char* name : {"q2_k", "q3_k", "q4_k", "q5_k", "q6_k"}) {
    SCOPED_TRACE(name);
    const FormatPtr format = find_format(name);
    const std::vector<float> weights = gaussian(256, 3);
    const Params unit = encode(*format, weights, 256).params[1];
    const float d = f16_to_f32(unit.sub.scale_unit), dmin = f16_to_f32(unit.sub.minimum_unit);
    const bool minima = format->affine()->free_bias;
    for (const float s : {1.0f, 3.0f, 7.0f, 12.4f, 1000.0f}) {
      const auto moved = format->store_beside(unit, s * d, -4.3f * dmin);
      ASSERT_TRUE(moved.has_value());
      EXPECT_EQ(moved->sub.scale_unit, unit.sub.scale_unit);
      EXPECT_EQ(moved->sub.minimum_unit, unit.sub.minimum_unit);
      if (s < 16) {
        EXPECT_EQ(moved->scale, std::round(s) * d);
      } else {  // the farthest there is
        EXPECT_EQ(format->store_beside(unit, 2 * s * d, 0.0f)->sub.scale, moved->sub.scale);
      }
      EXPECT_EQ(moved->bias, minima ? -4 * dmin : 0.0f);
      std::string why;
      EXPECT_TRUE(format->valid(*moved, std::vector<Code>(32, 0), &why)) << why;
    }
    EXPECT_EQ(format->store_beside(unit, 0.1f * d, 0.0f)->sub.scale, 1);  // 0 would be no scale
    EXPECT_EQ(format->store_beside(unit, 3 * d, 5.0f)->bias, 0.0f);       // a minimum is never positive
    EXPECT_EQ(format->store_beside(unit, -3 * d, 0.0f).has_value(), !minima);
    Params nothing = unit;
    nothing.sub.scale_unit = 0;
    EXPECT_FALSE(format->store_beside(nothing, 1.0f, 0.0f).has_value());
  }
}

double squared_error(const Format& format, const std::vector<float>& weights, std::size_t columns) {
  const std::vector<float> stored = decode(format, encode(format, weights, columns), weights.size());
  double sum = 0;
  for (std::size_t i = 0; i < weights.size(); ++i)
    sum += std::pow(static_cast<double>(weights[i]) - static_cast<double>(stored[i]), 2);
  return sum;
}

// On normal weights: below the plain types of as many bits, and near what is known of the best uniform grids.
TEST(GgufSuperblocks, WhatIsWrittenIsClose) {
  const std::vector<float> weights = gaussian(256 * 256, 31);
  double squares = 0;
  for (const float w : weights) squares += static_cast<double>(w) * static_cast<double>(w);
  const auto relative_rms = [&](const char* name) {
    return std::sqrt(squared_error(*find_format(name), weights, 1024) / squares);
  };
  EXPECT_NEAR(relative_rms("q2_k"), .2738, .003);
  EXPECT_NEAR(relative_rms("q3_k"), .1473, .0015);
  EXPECT_NEAR(relative_rms("q4_k"), .0737, .0008);
  EXPECT_NEAR(relative_rms("q5_k"), .0368, .0004);
  EXPECT_NEAR(relative_rms("q6_k"), .0182, .0002);
  EXPECT_LT(relative_rms("q4_k"), .9 * relative_rms("q4_0"));
  EXPECT_LT(relative_rms("q4_k"), relative_rms("q4_1"));
  EXPECT_LT(relative_rms("iq4_nl"), .9 * relative_rms("q4_0"));
  EXPECT_LT(relative_rms("iq4_xs"), .9 * relative_rms("q4_0"));
}

/// With the nearest codes from first to last.
double fit_error(std::span<const float> weights, const SubBlockFit& fit, Code first, Code last) {
  double sum = 0;
  for (const float weight : weights) {
    const double w = static_cast<double>(weight);
    const double steps = fit.scale == 0 ? 0.0 : (w + fit.minimum) / fit.scale;
    const double q = std::nearbyint(std::clamp<double>(steps, first, last));
    sum += std::pow(w - (q * fit.scale - fit.minimum), 2);
  }
  return sum;
}

// Least squares stays only where it helps. Where few weights are negative it would have the minimum be so
// too, and what is left of it without can be worse than the start.
TEST(GgufSuperblocks, NoFitIsWorseThanOneThatClipsNothing) {
  int better = 0, without_minimum = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    std::vector<float> weights = gaussian(seed % 2 == 0 ? 16 : 32, seed);
    for (float& weight : weights) weight += seed % 3 == 0 ? 3.0f : seed % 3 == 1 ? -3.0f : 0.0f;
    weights[seed % 16] = seed % 5 == 0 ? -0.3f : weights[seed % 16];
    const auto [least, most] = std::ranges::minmax(weights);
    const double low = std::min(0.0, static_cast<double>(least));
    for (const Code last : {3, 15, 31}) {
      const SubBlockFit start{(static_cast<double>(most) - low) / last, -low};
      const SubBlockFit fit = fit_with_minimum(weights, last);
      EXPECT_GE(fit.minimum, 0.0);
      EXPECT_LE(fit_error(weights, fit, 0, last), fit_error(weights, start, 0, last)) << seed << ", " << last;
      better += fit_error(weights, fit, 0, last) < 0.98 * fit_error(weights, start, 0, last);
      without_minimum += start.minimum > 0 && fit.minimum == 0;
    }
    const float extreme = std::fabs(least) > std::fabs(most) ? least : most;
    for (const Code reach : {4, 32}) {
      const SubBlockFit start{static_cast<double>(extreme) / -reach, 0.0};
      const SubBlockFit fit = fit_symmetric(weights, -reach, reach - 1);
      EXPECT_LE(fit_error(weights, fit, -reach, reach - 1), fit_error(weights, start, -reach, reach - 1))
          << seed;
    }
  }
  EXPECT_GT(better, 900);
  EXPECT_GT(without_minimum, 0);
}

TEST(GgufSuperblocks, OneRowHasToFillSuperblocks) {
  const auto why = find_format("q4_k")->misfit(4, 288);  // units of 32, superblocks of 256
  ASSERT_TRUE(why.has_value());
  EXPECT_NE(why->find("runs of 256"), std::string::npos) << *why;
  EXPECT_FALSE(find_format("iq4_nl")->misfit(4, 288).has_value());
}

}  // namespace
}  // namespace assay::test
