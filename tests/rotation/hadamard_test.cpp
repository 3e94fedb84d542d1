// Hadamard rotations against their definition, and norms fused by both conventions.
#include "assay/rotation/hadamard.h"

#include <bit>
#include <cmath>
#include <random>
#include <set>
#include <string>

#include "assay/base/error.h"
#include "assay/rotation/rotation_plan.h"
#include "tests/support.h"

namespace assay {
namespace {

std::string signs_text(std::uint64_t seed, std::size_t count) {
  std::string text;
  for (const double sign : random_signs(seed, count)) text += sign > 0 ? '+' : '-';
  return text;
}

std::vector<double> random_values(std::size_t count) {
  std::mt19937 random(count);
  std::normal_distribution<double> normal;
  std::vector<double> values(count);
  for (double& value : values) value = normal(random);
  return values;
}

/// Element (i, j) of the Walsh-Hadamard matrix in natural order.
double hadamard_element(std::size_t n, std::size_t i, std::size_t j) {
  return (std::popcount(i & j) % 2 == 0 ? 1 : -1) / std::sqrt(static_cast<double>(n));
}

/// R [size, size], row-major: the identity's columns, turned.
std::vector<double> matrix_of(const Rotation& rotation) {
  std::vector<double> matrix(rotation.size() * rotation.size());
  for (std::size_t i = 0; i < rotation.size(); ++i) matrix[i * rotation.size() + i] = 1;
  rotation.apply(matrix, rotation.size());
  return matrix;
}

double sum_of_squares(const std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return sum;
}

TEST(Hadamard, SignsAreThoseOfOtherConverters) {
  EXPECT_EQ(signs_text(0xC0FFEE, 64), "--++----+-++----++++-+++-+--+-+++-++--+--+-++--+-+-+-++-+++-+-+-");
  EXPECT_EQ(signs_text(0, 16), "+-+-+-+-+-+-----");
  EXPECT_EQ(signs_text(1, 16), "-+--+--++-++++--");
  EXPECT_EQ(signs_text(47, 16), "-+++----+-+-+++-");
  EXPECT_EQ(kRotationSeed, 0xC0FFEEu);
}

TEST(Hadamard, FastTransformEqualsTheMatrix) {
  for (std::size_t n = 1; n <= 64; n *= 2) {
    for (const std::size_t width : {std::size_t{1}, std::size_t{3}}) {
      const std::vector<double> x = random_values(n * width);
      std::vector<double> fast = x;
      walsh_hadamard(fast, width);
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < width; ++c) {
          double wanted = 0;
          for (std::size_t j = 0; j < n; ++j) wanted += hadamard_element(n, i, j) * x[j * width + c];
          EXPECT_NEAR(fast[i * width + c], wanted, 1e-14 * static_cast<double>(n)) << n << " " << width;
        }
      }
    }
  }
}

TEST(Hadamard, RotationOfOneBlockIsHTimesSigns) {
  const Rotation rotation(RotationKind::hadamard, 64, 47);
  EXPECT_EQ(rotation.block(), 64u);
  const std::vector<double> matrix = matrix_of(rotation), signs = random_signs(47, 64);
  for (std::size_t i = 0; i < 64; ++i)
    for (std::size_t j = 0; j < 64; ++j)
      EXPECT_DOUBLE_EQ(matrix[i * 64 + j], hadamard_element(64, i, j) * signs[j]);
}

TEST(Hadamard, RotationsAreOrthogonal) {
  for (const std::size_t n : {16u, 48u, 64u, 256u, 320u}) {
    const std::vector<double> r = matrix_of(Rotation(RotationKind::hadamard, n, 1));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double product = 0;
        for (std::size_t k = 0; k < n; ++k) product += r[i * n + k] * r[j * n + k];
        ASSERT_NEAR(product, i == j ? 1 : 0, 1e-13) << n << " " << i << " " << j;
      }
    }
  }
}

TEST(Hadamard, OtherSizesTurnInBlocksOfTheirOwnSigns) {
  const Rotation rotation(RotationKind::hadamard, 320, 1);
  EXPECT_EQ(rotation.block(), 64u);
  const std::vector<double> r = matrix_of(rotation);
  std::set<std::string> blocks;
  for (std::size_t first = 0; first < 320; first += 64) {
    std::string signs;  // row 0 of H is positive
    for (std::size_t j = 0; j < 64; ++j) signs += r[first * 320 + first + j] > 0 ? '+' : '-';
    blocks.insert(signs);
  }
  EXPECT_EQ(blocks.size(), 5u);
  for (std::size_t i = 0; i < 320; ++i)
    for (std::size_t j = 0; j < 320; ++j) EXPECT_EQ(r[i * 320 + j] == 0, i / 64 != j / 64);
}

TEST(Hadamard, UndoneIsTheOriginalAndTheLengthStays) {
  for (const std::size_t n : {16u, 320u, 4096u}) {
    for (const std::size_t width : {std::size_t{1}, std::size_t{5}}) {
      const Rotation rotation(RotationKind::hadamard, n, 3);
      const std::vector<double> original = random_values(n * width);
      std::vector<double> x = original;
      rotation.apply(x, width);
      EXPECT_NE(x, original);
      EXPECT_NEAR(sum_of_squares(x) / sum_of_squares(original), 1, 1e-13);
      rotation.undo(x, width);
      for (std::size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], original[i], 1e-13);
    }
  }
}

TEST(Hadamard, RefusesSizesThatWouldHardlyMix) {
  EXPECT_ERROR(Rotation(RotationKind::hadamard, 328, 1), "size 328", "is 8", "at least 16");
  EXPECT_ERROR(Rotation(RotationKind::hadamard, 999, 1), "size 999", "is 1,");
  const Rotation identity(RotationKind::identity, 999, 1);
  std::vector<double> x = random_values(999);
  const std::vector<double> original = x;
  identity.apply(x);
  EXPECT_EQ(x, original);
  identity.undo(x);
  EXPECT_EQ(x, original);
}

TEST(Hadamard, KindsHaveNames) {
  for (const RotationKind kind : {RotationKind::identity, RotationKind::hadamard})
    EXPECT_EQ(parse_rotation_kind(rotation_kind_name(kind)), kind);
  EXPECT_ERROR(parse_rotation_kind("givens"), "givens", "hadamard");
}

TEST(Fusion, BothConventionsKeepTheProduct) {
  const std::vector<double> x = {0.3, -1.2, 2.0};
  const std::vector<float> norm = {0.5f, -0.25f, 1.5f};
  for (const NormGain convention : {NormGain::plain, NormGain::shifted}) {
    // Two rows of weights, as a panel: [3 features, 2 rows].
    const std::vector<double> weights = {1, 2, 3, 4, 5, 6};
    std::vector<double> fused = weights;
    fuse_norm(fused, norm, convention);
    const double offset = convention == NormGain::shifted ? 1 : 0;
    const double neutral = offset + static_cast<double>(neutral_norm(convention));
    for (std::size_t row = 0; row < 2; ++row) {
      double wanted = 0, got = 0;
      for (std::size_t j = 0; j < 3; ++j) {
        wanted += weights[2 * j + row] * (offset + static_cast<double>(norm[j])) * x[j];
        got += fused[2 * j + row] * neutral * x[j];
      }
      EXPECT_DOUBLE_EQ(got, wanted);
    }
  }
  ModelConfig config;
  EXPECT_EQ(norm_gain(config), NormGain::plain);
  config.shifted_norms = true;
  EXPECT_EQ(norm_gain(config), NormGain::shifted);
}

}  // namespace
}  // namespace assay
