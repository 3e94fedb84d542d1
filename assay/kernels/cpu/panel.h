#pragma once
// How packed kernels hold a matrix: panels of 16 rows, which lie one after the other and are read from end to
// end. Rows are interleaved, so that a vector register holds the same column of all of them: one activation is
// broadcast to it, and nothing is ever summed across a register. The bytes a panel takes are those of the
// stored format, for no format more than the padding of a last panel and a last block.
//
// A panel is a sequence of groups (columns that share parameters), a group is
//   scales    16 x 2 or 4 bytes, one a row
//   offsets   as many, where there are any: a bias, or the code that stands for zero
//   blocks    of 32 columns: `bits` words of 32 bits a row, word by word, 16 rows each
// A word of a row holds as many whole codes as fit it, lowest bits first, columns in order. What is left at its
// top (2 bits of words with codes of 3, 5 or 6 bits, 4 bits with 7) is a digit of the last codes of the block:
// concatenated, the lowest word's lowest, the digits are those codes. A kernel masks a code where it stands and
// converts it as it is: the activation it meets carries the power of two that takes the shift back, exactly.
//
// Halves (f16, bf16) have no parameters: a block is 32 columns x 16 rows x 2 bytes.
//
// This header is included by sources compiled for one instruction set: plain structs, no inline functions of
// the library.
#include <cstddef>
#include <cstdint>

namespace assay::cpu {

constexpr std::size_t kPanelRows = 16;
constexpr std::size_t kBlockColumns = 32;
constexpr std::size_t kFewTokens = 4;   // up to here codes are multiplied as they are unpacked
constexpr std::size_t kTokensAtOnce = 6;  // of a tile of the product with unpacked weights

/// What a weight is stored as: codes of 1 to 8 bits, or halves.
enum class PanelCode : std::uint8_t { bits1 = 1, bits2, bits3, bits4, bits5, bits6, bits7, bits8, f16, bf16 };
constexpr std::size_t kPanelCodes = 11;

/// How the parameters of a group are stored.
enum class PanelFloat : std::uint8_t { f16, bf16, f32 };
/// weight = scale * (code - zero) + bias: one zero for all, a bias a group, or a zero a group.
enum class PanelOffset : std::uint8_t { fixed_zero, bias, zero };

struct PanelView {
  const std::byte* data;  // of one panel
  std::size_t groups;
  std::size_t blocks_in_group;
  PanelFloat params;
  PanelOffset offset;
  float zero;  // fixed_zero
};

/// A few tokens as a panel kernel takes them: activations [tokens][blocks x 32], padded with zeros, each times
/// 2^-(bit at which its code stands); their plain sums [tokens][groups].
struct FewTokens {
  const float* x;
  std::size_t stride;
  const float* sums;
  std::size_t sums_stride;
};

/// The kernels of one code width on one instruction set.
struct PanelKernel {
  /// y[t][row] = panel . x[t] for t + 1 tokens; y [tokens][16].
  void (*few[kFewTokens])(const PanelView& panel, const FewTokens& x, float* y);
  /// Blocks [first, first + count) as weights: out [count x 32][16].
  void (*unpack)(const PanelView& panel, std::size_t first, std::size_t count, float* out);
};

struct PanelKernels {
  PanelKernel of_code[kPanelCodes];  // by PanelCode
  /// y[t][row] (+)= weights [columns][16] . x[t], t + 1 tokens; strides in floats.
  void (*tile[kTokensAtOnce])(const float* weights, std::size_t columns, const float* x, std::size_t x_stride,
                            float* y, std::size_t y_stride, bool add);
};

/// Null where this build has none.
const PanelKernels* avx2_panel_kernels();

/// Where in a block the code of a column stands. Also what activations are scaled by.
struct CodePlace {
  std::size_t word;  // of the row's words; of a leftover code 0
  int shift;         // bit of the word at which it begins; within the leftovers of one
  bool leftover;
};

constexpr int codes_in_word(int bits) {
  return 32 / bits;
}
constexpr int leftover_bits(int bits) {
  return 32 - codes_in_word(bits) * bits;
}
constexpr CodePlace place_of(int bits, int column) {
  const int whole = codes_in_word(bits) * bits;  // columns of a block whose codes lie whole in words
  if (column < whole)
    return {static_cast<std::size_t>(column / codes_in_word(bits)), column % codes_in_word(bits) * bits, false};
  return {0, (column - whole) * bits, true};
}
/// Does a kernel shift the code down, for it reaches the sign bit?
constexpr bool is_shifted_down(int bits, const CodePlace& place) {
  return !place.leftover && place.shift + bits == 32;
}

}  // namespace assay::cpu
