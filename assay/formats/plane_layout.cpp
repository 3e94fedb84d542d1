#include "assay/formats/plane_layout.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "assay/base/checked.h"

namespace assay {
namespace {

constexpr std::uint64_t kWordBits = 32, kWordBytes = 4;

/// stored[element, row] to out[row, element].
template <class Element>
void transpose_back(const std::byte* stored, const RowRange& range, std::uint64_t elements, std::byte* out) {
  for (std::uint64_t e = 0; e < elements; ++e)
    for (std::uint64_t i = 0; i < range.count; ++i) {
      const auto value = load<Element>(stored + (e * range.rows + range.first + i) * sizeof(Element));
      store(out + (i * elements + e) * sizeof(Element), value);
    }
}

void gather_transposed(Bytes stored, std::size_t element_bytes, const RowRange& range,
                       std::uint64_t row_bytes, std::byte* out) {
  assert(stored.size() == range.rows * row_bytes && row_bytes % element_bytes == 0);
  const std::uint64_t elements = row_bytes / element_bytes;
  switch (element_bytes) {
    case 1:
      return transpose_back<std::uint8_t>(stored.data(), range, elements, out);
    case 2:
      return transpose_back<std::uint16_t>(stored.data(), range, elements, out);
    case 4:
      return transpose_back<std::uint32_t>(stored.data(), range, elements, out);
    default:
      return transpose_back<std::uint64_t>(stored.data(), range, elements, out);
  }
}

void gather_packed(Bytes stored, const PlaneLayout& plane, const RowRange& range, std::uint64_t elements,
                   std::byte* out) {
  const auto bits = static_cast<std::uint64_t>(plane.packed_bits);
  const std::uint64_t words = ceil_divide(range.rows * bits, kWordBits);
  assert(stored.size() == words * elements * kWordBytes);
  const auto word = [&](std::uint64_t w, std::uint64_t e) {
    if (w >= words) return std::uint64_t{0};
    const std::uint64_t at = plane.transposed ? e * words + w : w * elements + e;
    return std::uint64_t{load<std::uint32_t>(stored.data() + at * kWordBytes)};
  };
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::uint64_t i = 0; i < range.count; ++i) {
    const std::uint64_t begin = (range.first + i) * bits, w = begin / kWordBits, shift = begin % kWordBits;
    for (std::uint64_t e = 0; e < elements; ++e) {
      const std::uint64_t both = word(w, e) | (shift + bits > kWordBits ? word(w + 1, e) << kWordBits : 0);
      out[i * elements + e] = static_cast<std::byte>(both >> shift & mask);
    }
  }
}

/// The record of its block for every unit.
void gather_blocks(Bytes stored, const Layout& layout, std::size_t bytes, const RowRange& range,
                   std::byte* out) {
  const std::uint64_t across = ceil_divide(range.columns, layout.block.columns);
  assert(stored.size() == across * ceil_divide(range.rows, layout.block.rows) * bytes);
  for (std::uint64_t i = 0; i < range.count; ++i)
    for (std::uint64_t u = 0; u < range.units_in_row(layout); ++u, out += bytes) {
      const std::uint64_t block =
          (range.first + i) / layout.block.rows * across + u * layout.run / layout.block.columns;
      std::memcpy(out, stored.data() + block * bytes, bytes);
    }
}

template <class T, class Move>
void reorder_rows(const std::vector<std::uint32_t>& order, std::span<T> values, const Move& move) {
  assert(!order.empty() && values.size() % order.size() == 0);
  std::vector<T> row(order.size());
  for (std::size_t at = 0; at < values.size(); at += order.size()) {
    const std::span<T> here = values.subspan(at, order.size());
    for (std::size_t j = 0; j < order.size(); ++j) move(row, here, j, order[j]);
    std::copy(row.begin(), row.end(), here.begin());
  }
}

}  // namespace

std::uint64_t StoredLayout::stored_row(std::uint64_t logical_row, std::uint64_t rows) const {
  if (heads == 0) return logical_row;
  const std::uint64_t half = rows / heads / 2;
  assert(half > 0 && rows % (2 * heads) == 0);
  const std::uint64_t in_head = logical_row % (2 * half);
  return logical_row - in_head + in_head % half * 2 + in_head / half;
}

bool is_plain(const StoredLayout& stored, const Layout& layout) {
  return stored.heads == 0 && stored.planes.empty() && !stored.columns && layout.share != Share::block;
}

std::vector<Bytes> gather_planes(const StoredLayout& stored, const Layout& layout, const RowRange& range,
                                 std::span<const Bytes> planes, std::span<std::vector<std::byte>> scratch) {
  assert(range.columns % layout.run == 0 && planes.size() == layout.planes.size());
  std::vector<Bytes> views;
  for (std::size_t p = 0; p < planes.size(); ++p) {
    const std::size_t bytes = layout.planes[p].record_bytes;
    const std::uint64_t row_bytes = layout.bytes(layout.planes[p], range.units_in_row(layout));
    const PlaneLayout plane = stored.planes.empty() ? PlaneLayout{} : stored.planes[p];
    const bool as_it_lies = stored.heads == 0 && !plane.transposed && plane.packed_bits == 0;
    if (as_it_lies && !layout.planes[p].per_block) {
      views.push_back(planes[p].subspan(range.first * row_bytes, range.count * row_bytes));
      continue;
    }
    scratch[p].resize(range.count * row_bytes);
    std::byte* out = scratch[p].data();
    if (layout.planes[p].per_block) {
      gather_blocks(planes[p], layout, bytes, range, out);
    } else if (plane.packed_bits > 0) {
      gather_packed(planes[p], plane, range, row_bytes, out);
    } else if (plane.transposed) {
      gather_transposed(planes[p], dtype_size(layout.planes[p].dtype), range, row_bytes, out);
    } else {
      for (std::uint64_t i = 0; i < range.count; ++i, out += row_bytes)
        std::memcpy(out, planes[p].data() + stored.stored_row(range.first + i, range.rows) * row_bytes,
                    row_bytes);
    }
    views.emplace_back(scratch[p]);
  }
  return views;
}

void order_codes(const StoredLayout& stored, std::span<Code> codes) {
  if (!stored.columns) return;
  reorder_rows(*stored.columns, codes,
               [](auto& row, auto here, std::size_t j, std::size_t column) { row[j] = here[column]; });
}

void order_weights(const StoredLayout& stored, std::span<float> weights) {
  if (!stored.columns) return;
  reorder_rows(*stored.columns, weights,
               [](auto& row, auto here, std::size_t j, std::size_t column) { row[column] = here[j]; });
}

}  // namespace assay
