#include "assay/rotation/hadamard.h"

#include <bit>
#include <cassert>
#include <cmath>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15;  // SplitMix64's increment, 2^64 over the golden ratio

/// SplitMix64's output function.
std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace

std::string_view rotation_kind_name(RotationKind kind) {
  return kind == RotationKind::identity ? "identity" : "hadamard";
}

RotationKind parse_rotation_kind(std::string_view name) {
  for (const RotationKind kind : {RotationKind::identity, RotationKind::hadamard})
    if (rotation_kind_name(kind) == name) return kind;
  fail("no rotation is called \"{}\"; there are identity and hadamard", name);
}

std::vector<double> random_signs(std::uint64_t seed, std::size_t count) {
  std::vector<double> signs(count);
  std::uint64_t state = seed + kGolden;
  for (double& sign : signs) {
    state += kGolden;
    sign = (mix(state) & 1) == 0 ? 1.0 : -1.0;
  }
  return signs;
}

void walsh_hadamard(std::span<double> x, std::size_t width) {
  assert(width > 0 && x.size() % width == 0 && std::has_single_bit(x.size() / width));
  // Rows i and i + n/2, ... pair up: with the columns side by side, whole runs of rows do.
  for (std::size_t half = width; half < x.size(); half *= 2) {
    for (std::size_t first = 0; first < x.size(); first += 2 * half) {
      double* upper = x.data() + first;
      double* lower = upper + half;
      for (std::size_t i = 0; i < half; ++i) {
        const double a = upper[i], b = lower[i];
        upper[i] = a + b;
        lower[i] = a - b;
      }
    }
  }
  const std::size_t size = x.size() / width;
  const double scale = 1 / std::sqrt(static_cast<double>(size));
  for (double& value : x) value *= scale;
}

Rotation::Rotation(RotationKind kind, std::size_t size, std::uint64_t seed)
    : kind_(kind), size_(size), seed_(seed) {
  if (kind == RotationKind::identity) return;
  block_ = size & (~size + 1);  // its lowest bit
  if (block_ < kSmallestHadamardBlock)
    fail(
        "hadamard rotation of size {}: the largest power of two that divides it is {}, at least {} expected; "
        "this model cannot be rotated so",
        size, block_, kSmallestHadamardBlock);
  // Blocks of equal signs would be one rotation repeated. A single block keeps the seed itself: other QuaRot
  // converters know no other case.
  for (std::size_t i = 0; i < size / block_; ++i) {
    const std::vector<double> signs = random_signs(block_ == size ? seed : mix(seed + i * kGolden), block_);
    signs_.insert(signs_.end(), signs.begin(), signs.end());
  }
}

void Rotation::flip_signs(std::span<double> x, std::size_t width) const {
  for (std::size_t i = 0; i < signs_.size(); ++i)
    for (double& value : x.subspan(i * width, width)) value *= signs_[i];
}

void Rotation::transform_blocks(std::span<double> x, std::size_t width) const {
  for (std::size_t first = 0; first < signs_.size(); first += block_)
    walsh_hadamard(x.subspan(first * width, block_ * width), width);
}

void Rotation::apply(std::span<double> x, std::size_t width) const {
  assert(x.size() == size_ * width);
  flip_signs(x, width);
  transform_blocks(x, width);
}

void Rotation::undo(std::span<double> x, std::size_t width) const {
  assert(x.size() == size_ * width);
  transform_blocks(x, width);
  flip_signs(x, width);
}

}  // namespace assay
