#include "assay/formats/format.h"

#include <cassert>
#include <limits>
#include <numeric>

#include "assay/base/checked.h"
#include "assay/base/error.h"

namespace assay {

std::optional<std::string> Format::misfit(std::uint64_t /*rows*/, std::uint64_t columns) const {
  const Layout shape = layout(columns);
  if (shape.share == Share::run_in_row && columns % shape.record_run() != 0)
    return fmt::format("{} cuts every row into runs of {}, but a row has {} columns", name(),
                       shape.record_run(), columns);
  return std::nullopt;
}

void Format::reference(std::span<const float> /*weights*/, std::span<Params> /*params*/,
                       std::span<Code> /*codes*/) const {
  fail("{} can only be read; choose another format to write", name());
}

void Format::round(std::span<const Params> /*params*/, std::span<const float> /*values*/,
                   std::span<Code> /*codes*/, std::span<float> /*out*/) const {
  fail("{} can only be read; choose another format to write", name());
}

void Format::pack(std::span<const Params> /*params*/, std::span<const Code> /*codes*/,
                  std::span<const MutableBytes> /*planes*/) const {
  fail("{} can only be read; choose another format to write", name());
}

std::optional<Params> Format::store(float /*scale*/, float /*bias*/) const {
  return std::nullopt;
}

std::optional<Params> Format::store_beside(const Params& /*unit*/, float scale, float bias) const {
  return store(scale, bias);
}

std::pair<float, float> Format::range(const Params& /*params*/) const {
  return {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()};
}

std::uint64_t Format::row_granule(std::uint64_t columns) const {
  const Layout shape = layout(columns);
  if (shape.share == Share::block) return shape.block.rows;
  if (shape.share != Share::run_flat || columns == 0) return 1;
  return shape.run / std::gcd<std::uint64_t, std::uint64_t>(shape.run, columns);
}

std::uint64_t unit_count(const Layout& layout, std::uint64_t rows, std::uint64_t columns) {
  switch (layout.share) {
    case Share::row:
      return rows;
    case Share::run_in_row:
    case Share::block:
      return rows * ceil_divide(columns, layout.run);
    case Share::run_flat:
      return ceil_divide(rows * columns, layout.run);
  }
  assert(false && "unknown way of sharing parameters");
  return 0;
}

std::uint64_t record_count(const Layout& layout, const Plane& plane, std::uint64_t rows,
                           std::uint64_t columns) {
  if (!plane.per_block)
    return ceil_divide(unit_count(layout, rows, columns), std::uint64_t{layout.units_per_record});
  return ceil_divide(rows, layout.block.rows) * ceil_divide(columns, layout.block.columns);
}

std::optional<std::uint64_t> packed_bytes(const Format& format, std::uint64_t rows, std::uint64_t columns) {
  if (!checked_multiply(rows, columns)) return std::nullopt;
  const Layout layout = format.layout(columns);
  std::optional<std::uint64_t> total = 0;
  for (const Plane& plane : layout.planes) {
    const auto bytes = checked_multiply(record_count(layout, plane, rows, columns), plane.record_bytes);
    if (bytes) total = checked_add(*total, *bytes);
    if (!bytes || !total) return std::nullopt;
  }
  return total;
}

double bits_per_weight(const Format& format, std::uint64_t rows, std::uint64_t columns) {
  const auto weights = checked_multiply(rows, columns);
  const auto bytes = packed_bytes(format, rows, columns);
  if (!weights || !bytes || *weights == 0) return 0.0;
  return 8.0 * static_cast<double>(*bytes) / static_cast<double>(*weights);
}

}  // namespace assay
