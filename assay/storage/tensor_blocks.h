#pragma once
// Going through a tensor in blocks of rows that fill whole units: how every pass over weights is cut, so that
// memory stays at a few megabytes a thread whatever the tensor's size.
#include <cstdint>
#include <functional>
#include <vector>

#include "assay/storage/tensor.h"

namespace assay {

/// Rows [first_row, first_row + rows) start and end on unit borders (or at the tensor's end) of the format
/// asked for.
struct RowBlock {
  std::uint64_t first_row = 0, rows = 0;
  std::uint64_t first_unit = 0, units = 0;
};

/// The blocks of a rows x columns tensor, about `weights_per_block` weights each.
std::vector<RowBlock> row_blocks(const Format& format, const MatrixShape& shape,
                                 std::uint64_t weights_per_block = std::uint64_t{1} << 18);

/// Parameters and codes of some units, with room for their planes.
struct UnitBuffer {
  std::vector<Params> params;
  std::vector<Code> codes;
  std::vector<std::vector<std::byte>> planes;

  UnitBuffer(const Layout& layout, std::uint64_t units);
  std::vector<MutableBytes> plane_views();
};

/// Parameters and codes of a block as stored, rows in logical order and each in the order of units; every
/// unit is checked. Returns the bytes of each plane, a record a unit, which lie in the tensor's file or,
/// where it is not stored so (formats/plane_layout.h), in the buffer.
std::vector<Bytes> read_units(const Tensor& tensor, const RowBlock& block, UnitBuffer& buffer);

}  // namespace assay
