#include "assay/storage/tensor_blocks.h"

#include <algorithm>
#include <cstring>

#include "assay/base/checked.h"

namespace assay {

std::vector<RowBlock> row_blocks(const Format& format, const MatrixShape& shape,
                                 std::uint64_t weights_per_block) {
  const Layout layout = format.layout(shape.columns);
  const std::uint64_t granule = format.row_granule(shape.columns);
  const std::uint64_t wanted =
      std::max<std::uint64_t>(1, weights_per_block / std::max<std::uint64_t>(1, shape.columns));
  const std::uint64_t rows_per_block = ceil_divide(wanted, granule) * granule;
  std::vector<RowBlock> blocks;
  for (std::uint64_t row = 0; row < shape.rows; row += rows_per_block) {
    RowBlock block;
    block.first_row = row;
    block.rows = std::min(rows_per_block, shape.rows - row);
    block.first_unit = row * shape.columns / layout.run;
    block.units = ceil_divide(block.rows * shape.columns, layout.run);
    blocks.push_back(block);
  }
  return blocks;
}

UnitBuffer::UnitBuffer(const Layout& layout, std::uint64_t units)
    : params(layout.has_params ? units : 0), codes(units * layout.run) {
  for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, units));
}

std::vector<MutableBytes> UnitBuffer::plane_views() {
  std::vector<MutableBytes> views;
  for (auto& plane : planes) views.emplace_back(plane);
  return views;
}

namespace {

/// Bytes [begin, begin + out.size()) of a plane that lies in parts.
void gather_plane(const Tensor& tensor, std::size_t plane, std::uint64_t begin, MutableBytes out) {
  std::uint64_t start = 0;
  for (const Tensor& part : tensor.parts) {
    const Bytes bytes = part.planes[plane];
    const std::uint64_t from = std::max<std::uint64_t>(begin, start);
    const std::uint64_t to = std::min<std::uint64_t>(begin + out.size(), start + bytes.size());
    if (from < to) std::memcpy(out.data() + (from - begin), bytes.data() + (from - start), to - from);
    start += bytes.size();
  }
}

/// A block of a tensor in parts that are not stored plainly: each part read by itself, and put together.
std::vector<Bytes> read_parts(const Tensor& tensor, const RowBlock& block, UnitBuffer& buffer) {
  const std::uint64_t columns = as_matrix(tensor.shape).columns;
  const Layout layout = tensor.format->layout(columns);
  std::uint64_t start = 0;  // row of the part
  for (const Tensor& part : tensor.parts) {
    const std::uint64_t rows = as_matrix(part.shape).rows;
    const std::uint64_t from = std::max(block.first_row, start),
                        to = std::min(block.first_row + block.rows, start + rows);
    start += rows;
    if (from >= to) continue;
    const std::uint64_t in_row = columns / layout.run, at = (from - block.first_row) * in_row,
                        first = from + rows - start;
    const RowBlock mine{first, to - from, first * in_row, (to - from) * in_row};
    UnitBuffer read(layout, mine.units);
    const std::vector<Bytes> views = read_units(part, mine, read);
    std::ranges::copy(read.params, buffer.params.begin() + static_cast<std::ptrdiff_t>(at));
    std::ranges::copy(read.codes, buffer.codes.begin() + static_cast<std::ptrdiff_t>(at * layout.run));
    for (std::size_t p = 0; p < views.size(); ++p)
      std::memcpy(buffer.planes[p].data() + layout.bytes(layout.planes[p], at), views[p].data(),
                  views[p].size());
  }
  return {buffer.planes.begin(), buffer.planes.end()};
}

}  // namespace

std::vector<Bytes> read_units(const Tensor& tensor, const RowBlock& block, UnitBuffer& buffer) {
  const MatrixShape shape = as_matrix(tensor.shape);
  const Layout layout = tensor.format->layout(shape.columns);
  std::vector<Bytes> views;
  if (!std::ranges::all_of(tensor.parts, is_plainly_stored)) return read_parts(tensor, block, buffer);
  if (tensor.parts.empty() && !is_plainly_stored(tensor)) {
    const RowRange range{shape.rows, shape.columns, block.first_row, block.rows};
    views = gather_planes(tensor.stored, layout, range, tensor.planes, buffer.planes);
  } else {
    for (std::size_t p = 0; p < layout.planes.size(); ++p) {
      const std::uint64_t begin = layout.bytes(layout.planes[p], block.first_unit),
                          bytes = layout.bytes(layout.planes[p], block.units);
      if (tensor.parts.empty()) {
        views.push_back(tensor.planes[p].subspan(begin, bytes));
        continue;
      }
      const MutableBytes room = MutableBytes(buffer.planes[p]).first(bytes);
      gather_plane(tensor, p, begin, room);
      views.emplace_back(room);
    }
  }
  unpack_units(*tensor.format, layout, {tensor.file, tensor.name}, block.first_unit, views, buffer.params,
               buffer.codes);
  order_codes(tensor.stored, buffer.codes);
  return views;
}

}  // namespace assay
