#pragma once
// How packed kernels hold a matrix: panels of 16 rows, which lie one after the other and are read from end to
// end. Rows are interleaved, so that a vector register holds the same column of all of them: one activation
// is broadcast to it, and nothing is ever summed across a register. The bytes a panel takes are those of the
// stored format, for no format more than the padding of a last panel and a last block.
//
// A panel is a sequence of groups (columns that share parameters), a group is
//   scales    16 x 2 or 4 bytes, one a row
//   offsets   as many, where there are any: a bias, or the code that stands for zero
//   blocks    of 32 columns: `bits` words of 32 bits a row, word by word, 16 rows each
// A word of a row is four bytes, which belong to four neighbouring columns, a quad: bytes 0 and 2 to the
// first two, 1 and 3 to the others. A byte holds as many whole codes as fit it, lowest bits first, of quads
// in order. What is left at its top (2 bits beside codes of 3 or 6 bits, 1 beside 7) is a digit of the
// block's last quads: the digits of the words (of the first three and of the last three with 6 bits) put
// together, the first word's lowest, are bytes with codes as well. Codes of 5 bits are four words like those
// of 4 bits and one of the quads' top bits, bit q of a byte that of quad q.
//
// So three ways of multiplying see the same bytes. With f32 activations a code is masked where it stands,
// converted as it is, and meets an activation that carries the power of two that takes the shift back,
// exactly. With activations of 16 bits (steps of a size of each block) a mask leaves a code in each half, and
// one instruction multiplies both with their columns' steps and adds them; with activations of 8 bits a mask
// leaves a code in each byte, and one instruction takes four columns. Integers, exact but for the rounding to
// steps, 2^-16 or 2^-8 of the block's largest.
//
// Formats of superblocks (Params::sub) keep their parameters as they are: 256 columns are
//   units     16 x 2 bytes, f16: what a scale of 1 is worth
//   minima    as many, where there are any
//   blocks    8, each: 16 x 1 byte, the scales of its 32 columns, or of the first 16, then of the last 16; as
//   many
//             bytes of minima where there are any; words as above
//
// Codes that name one of at most 16 levels lie as codes of 4 bits do; one table lookup turns half a word into
// a word of 8-bit codes.
//
// Halves (f16, bf16, gf16) have no parameters: a block is 32 columns x 16 rows x 2 bytes.
//
// This header is included by sources compiled for one instruction set: plain structs, no inline functions of
// the library.
#include <cstddef>
#include <cstdint>

namespace assay::cpu {

constexpr std::size_t kPanelRows = 16;
constexpr std::size_t kBlockColumns = 32;
constexpr std::size_t kBlocksInSuperblock = 8;
constexpr std::size_t kFewTokens = 4;  // up to here codes are multiplied as they are unpacked

/// What a weight is stored as: codes of 1 to 8 bits, names of levels, or halves.
enum class PanelCode : std::uint8_t {
  bits1 = 1,
  bits2,
  bits3,
  bits4,
  bits5,
  bits6,
  bits7,
  bits8,
  levels,
  f16,
  bf16,
  gf16
};
constexpr std::size_t kPanelCodes = 13;
constexpr std::size_t kLevels = 16;

/// Bits of a code as it is multiplied, and words of a block as it is stored; of codes, not of halves.
constexpr int bits_of(PanelCode code) {
  return code == PanelCode::levels ? 8 : static_cast<int>(code);
}
constexpr int words_of(PanelCode code) {
  return code == PanelCode::levels ? 4 : static_cast<int>(code);
}

/// How the parameters of a group are stored, or halves.
enum class PanelFloat : std::uint8_t { f16, bf16, f32, gf16 };
/// weight = scale * (code - zero) + bias: one zero for all, a bias a group, or a zero a group.
enum class PanelOffset : std::uint8_t { fixed_zero, bias, zero };

struct PanelView {
  const std::byte* data;  // of one panel
  std::size_t groups;
  std::size_t blocks_in_group;
  PanelFloat params;
  PanelOffset offset;
  float zero;      // fixed_zero
  bool subscaled;  // superblocks, whose groups are of 32 / groups_in_block() columns
  alignas(16) std::uint8_t levels[kLevels];  // the codes of 8 bits that names stand for
};

/// A few tokens as a panel kernel takes them, padded with zeros to whole blocks.
struct FewTokens {
  const float* x;             // [tokens][blocks x 32], each times activation_factor()
  const std::int16_t* steps;  // [tokens][blocks x 32] of the sizes
  const std::int8_t* bytes;   // in place of the steps: a quad's columns in the order of a word's bytes
  const float* sizes;         // [tokens][blocks]
  const float* sums;          // [tokens][groups], plain sums of what is multiplied; of 16 columns or more
  std::size_t blocks, groups;
};

/// The kernels of one code width on one instruction set.
struct PanelKernel {
  /// y[t][row] = panel . x[t] for t + 1 tokens; y [tokens][16].
  void (*few[kFewTokens])(const PanelView& panel, const FewTokens& x, float* y);
  /// The same with steps of 16 or 8 bits; null for codes that are not multiplied so.
  void (*few_steps[kFewTokens])(const PanelView& panel, const FewTokens& x, float* y);
  void (*few_bytes[kFewTokens])(const PanelView& panel, const FewTokens& x, float* y);
  /// All blocks as weights, transposed: 16 floats a column, `stride` floats from column to column.
  void (*unpack)(const PanelView& panel, std::size_t blocks, float* out, std::size_t stride);
};

struct PanelKernels {
  PanelKernel of_code[kPanelCodes];       // by PanelCode
  PanelKernel of_subscaled[kPanelCodes];  // the same of superblocks; empty for codes that no format has there
};

/// Are codes multiplied with activations of 8 bits? Wider ones would need more sums than there are registers.
constexpr bool takes_bytes(PanelCode code) {
  return code <= PanelCode::bits5;
}

/// Groups of a block in superblocks of such codes; 0: there are none.
constexpr int groups_in_block(PanelCode code) {
  switch (code) {
    case PanelCode::bits4:
    case PanelCode::bits5:
    case PanelCode::levels:
      return 1;
    case PanelCode::bits2:
    case PanelCode::bits3:
    case PanelCode::bits6:
      return 2;
    default:
      return 0;
  }
}

/// Null where this build has none.
const PanelKernels* avx2_panel_kernels();
const PanelKernels* neon_panel_kernels();

// Where codes stand: a block's 8 quads lie in its words and in what their leftovers make up.
constexpr int kQuadsInBlock = static_cast<int>(kBlockColumns) / 4;
constexpr int kBitsInPlanes = 5;

constexpr int quads_in_word(int bits) {
  return bits == kBitsInPlanes ? 1 : 8 / bits;
}
constexpr int digit_bits(int bits) {
  return bits == kBitsInPlanes ? 0 : 8 % bits;
}
/// Registers that leftovers fill, and how many words give their digits to one.
constexpr int leftover_registers(int bits) {
  return digit_bits(bits) == 0 ? 0 : bits == 6 ? 2 : 1;
}
constexpr int words_in_leftover(int bits) {
  return bits / leftover_registers(bits);
}
constexpr int quads_in_leftover(int bits) {
  return digit_bits(bits) * words_in_leftover(bits) / bits;
}
/// The byte of a word that belongs to a column of a quad.
constexpr int byte_of(int column) {
  return column % 4 == 1 ? 2 : column % 4 == 2 ? 1 : column % 4;
}

struct CodePlace {
  int reg;    // a word, or behind the words a register of leftovers; of planes: one for each quad
  int shift;  // the bit of it at which the code begins
};
constexpr CodePlace place_of(int bits, int column) {
  const int quad = column / 4, byte = byte_of(column) * 8;
  if (bits == kBitsInPlanes) return {quad, byte};
  const int in_words = quads_in_word(bits) * bits;
  if (quad < in_words) return {quad / quads_in_word(bits), byte + quad % quads_in_word(bits) * bits};
  const int beyond = quad - in_words;
  return {bits + beyond / quads_in_leftover(bits), byte + beyond % quads_in_leftover(bits) * bits};
}
/// Does a kernel shift the code down, for it reaches the sign bit?
constexpr bool is_shifted_down(int bits, const CodePlace& place) {
  return place.shift + bits == 32;
}

}  // namespace assay::cpu
