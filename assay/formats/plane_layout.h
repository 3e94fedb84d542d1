#pragma once
// How the bytes of a stored matrix map to the planes of its format, whose records follow the units in logical
// order (rows of the matrix, runs within a row). Most files store exactly that; others keep rows in another
// order, store arrays transposed, pack integers into words along the rows, or permute columns. All of it is
// said here as data, so that a format knows nothing of who stored it and a reader nothing of bits.
//
// Layouts other than the plain one belong to formats whose units lie within rows (never Share::run_flat).
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// One plane: a matrix of elements, a row of them for each logical row.
struct PlaneLayout {
  /// Stored as [elements of a row, rows], an element being of the plane's dtype.
  bool transposed = false;
  /// > 0: the plane's records are single bytes, stored as unsigned integers of so many bits in little-endian
  /// 32-bit words, packed along the rows (N): integer n of a column lies at bits [n*bits, (n+1)*bits) of the
  /// column's words. Words are stored [ceil(N*bits/32), elements], or transposed.
  int packed_bits = 0;
};

struct StoredLayout {
  /// > 0: rows are kept in interleaved RoPE order, as GGUF does with q and k of Llama models.
  std::uint64_t heads = 0;
  std::vector<PlaneLayout> planes;  // empty: each as its format says
  /// Logical column of the j-th weight of a row in the order of units, where groups do not lie together
  /// (act-order); codes are then stored in logical order and groups' parameters in the order of groups. Null:
  /// in order. A permutation of 0..K-1.
  std::shared_ptr<const std::vector<std::uint32_t>> columns;

  /// Stored row of a logical row: within each head, half-split row [h, p, j] is stored at [h, j, p].
  std::uint64_t stored_row(std::uint64_t logical_row, std::uint64_t rows) const;
};

/// Do the stored bytes of a matrix lie exactly as the records of its format's planes? Only then may they be
/// cut, copied and compared as bytes.
bool is_plain(const StoredLayout& stored, const Layout& layout);

/// Rows [first, first + count) of a rows x columns matrix.
struct RowRange {
  std::uint64_t rows = 0, columns = 0;
  std::uint64_t first = 0, count = 0;
  std::uint64_t units_in_row(const Layout& layout) const { return columns / layout.run; }
};

/// The planes of these rows as the format wants them, a record for every unit (that of a block repeated):
/// views of the stored planes where they lie so, otherwise gathered into `scratch`, a vector a plane, whose
/// sizes are adjusted. Only for rows of whole units.
std::vector<Bytes> gather_planes(const StoredLayout& stored, const Layout& layout, const RowRange& range,
                                 std::span<const Bytes> planes, std::span<std::vector<std::byte>> scratch);

/// Codes of whole rows from logical column order to the order of units. No-op without a permutation.
void order_codes(const StoredLayout& stored, std::span<Code> codes);
/// Weights of whole rows from the order of units back to logical columns.
void order_weights(const StoredLayout& stored, std::span<float> weights);

}  // namespace assay
