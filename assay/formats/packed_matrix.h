#pragma once
// A matrix [rows, columns] as it is stored: what kernels are built from. Cheap to copy: views of the planes'
// bytes, and whoever keeps them alive (a mapped file, memory). Nothing is copied or decoded by making one.
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/formats/plane_layout.h"

namespace assay {

/// Where bytes come from, for messages.
struct PackedOrigin {
  std::string file, tensor;
};

/// Rows that lie together: whole units, planes in the order of the format's layout, of any alignment, their
/// bytes as `stored` says.
struct PackedPart {
  std::uint64_t rows = 0;
  std::vector<Bytes> planes;
  PackedOrigin origin;
  StoredLayout stored = {};
};

class PackedMatrix {
 public:
  using Owners = std::vector<std::shared_ptr<const void>>;

  /// The rows of all parts, one part after the other.
  PackedMatrix(FormatPtr format, std::uint64_t columns, std::vector<PackedPart> parts, Owners owners);
  /// Values in memory, row-major, as a matrix of format f32.
  static PackedMatrix of_floats(std::vector<float> values, std::uint64_t rows, std::uint64_t columns);
  /// Rows [first, first + rows): the same bytes, also where rows share units with others.
  PackedMatrix slice(std::uint64_t first, std::uint64_t rows) const;

  const FormatPtr& format() const { return format_; }
  const Layout& layout() const { return layout_; }
  std::uint64_t rows() const { return rows_; }
  std::uint64_t columns() const { return columns_; }
  const PackedOrigin& origin() const;
  /// Bytes of these rows' planes; units shared with other rows counted in full, of parts that are not stored
  /// plainly a share by rows.
  std::uint64_t packed_bytes() const;
  /// The planes of exactly these rows where they lie in one piece, plainly stored and in units of their own,
  /// which is what a kernel can read in place. Nothing otherwise: decode() serves every matrix.
  std::optional<std::vector<Bytes>> planes() const;

  /// Rows [first, first + count) as f32 into out (count * columns). Any thread. Every unit is checked; a bad
  /// one is an Error with file, tensor, unit, found and expected.
  void decode(std::uint64_t first, std::uint64_t count, std::span<float> out) const;

  /// Do units lie within rows, columns in order? What unpack() needs.
  bool rows_hold_units() const;
  /// Parameters and codes of rows [first, first + count), row by row, checked as decode() does. Sizes: count
  /// times the units of a row (0 without parameters), count * columns.
  void unpack(std::uint64_t first, std::uint64_t count, std::span<Params> params,
              std::span<Code> codes) const;
  /// Nobody will read these rows for now: pages of a mapped file need not stay in memory.
  void leave_pages() const;

 private:
  /// visit(part, first row within it, rows, rows before them) for the parts that rows [first, first + count)
  /// lie in.
  template <class Visit>
  void for_each_part(std::uint64_t first, std::uint64_t count, const Visit& visit) const;

  FormatPtr format_;
  Layout layout_;
  std::uint64_t first_ = 0, rows_ = 0, columns_ = 0;  // the first row's place among those of all parts
  std::vector<PackedPart> parts_;
  Owners owners_;
};

/// Parameters and codes of the units from `first` on, whose plane bytes are given: unpacked, and every unit
/// checked. A bad one is an Error with file, tensor and unit.
void unpack_units(const Format& format, const Layout& layout, const PackedOrigin& origin, std::uint64_t first,
                  std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes);

}  // namespace assay
