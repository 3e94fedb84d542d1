#pragma once
// Random Hadamard rotations of vectors, in f64: R = H D with random signs D and the orthogonal Walsh-Hadamard
// matrix H (QuaRot, arXiv 2404.00456). Nothing is stored: size and seed say everything.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace assay {

/// identity: R = I, the control of an ablation (norms are fused and the head is untied all the same).
enum class RotationKind { identity, hadamard };
std::string_view rotation_kind_name(RotationKind kind);    // "identity", "hadamard"
RotationKind parse_rotation_kind(std::string_view name);   // throws Error listing the kinds
inline constexpr std::uint64_t kRotationSeed = 0xC0FFEE;   // the seed of published QuaRot directories
inline constexpr std::size_t kSmallestHadamardBlock = 16;  // fewer weights hardly share an outlier

/// The first `count` signs, +1 or -1: the low bits of SplitMix64 (0 is +). The state has advanced once before
/// the first step, as in lattice's converter, so that both make the same rotation of a seed.
std::vector<double> random_signs(std::uint64_t seed, std::size_t count);

/// Multiplies every column of x [n, width] (row-major, n a power of two) by the Walsh-Hadamard matrix in
/// natural (Sylvester) order, scaled 1/sqrt(n): orthogonal, symmetric, its own inverse. n log n steps.
void walsh_hadamard(std::span<double> x, std::size_t width = 1);

/// An orthogonal matrix R [size, size]. hadamard: block-diagonal, each block a Hadamard matrix times random
/// signs, where a block is the largest power of two that divides the size; a power of two is one block.
class Rotation {
 public:
  /// Throws Error when the blocks would be smaller than kSmallestHadamardBlock.
  Rotation(RotationKind kind, std::size_t size, std::uint64_t seed);

  RotationKind kind() const { return kind_; }
  std::size_t size() const { return size_; }
  std::uint64_t seed() const { return seed_; }
  std::size_t block() const { return block_; }  // 1 for the identity

  /// x <- R x and x <- R^T x for every column of x [size, width], row-major.
  void apply(std::span<double> x, std::size_t width = 1) const;
  void undo(std::span<double> x, std::size_t width = 1) const;

 private:
  void flip_signs(std::span<double> x, std::size_t width) const;
  void transform_blocks(std::span<double> x, std::size_t width) const;

  RotationKind kind_;
  std::size_t size_, block_ = 1;
  std::uint64_t seed_;
  std::vector<double> signs_;  // the diagonal of D; empty for the identity
};

}  // namespace assay
