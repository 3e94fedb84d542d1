#include "assay/formats/packed_matrix.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/formats/table.h"

namespace assay {
namespace {

constexpr std::size_t kWeightsPerStep =
    8192;                                     // decoded between two virtual calls; keeps the scratch in cache
constexpr std::uint64_t kRowsPerGather = 16;  // words of so many rows fill a cache line where transposed

const char* unit_word(const Layout& layout) {
  if (layout.share == Share::row) return "row";
  if (layout.units_per_record > 1) return "sub-block";
  return layout.run == 1 ? "element" : "block";
}

/// Decodes runs of units of one part, checking every unit on the way.
class UnitDecoder {
 public:
  UnitDecoder(const Format& format, const Layout& layout, const PackedPart& part, std::uint64_t columns)
      : format_(format), layout_(layout), part_(part), elements_(part.rows * columns) {
    assert(part.planes.size() == layout_.planes.size());
    const std::size_t records = std::max<std::size_t>(1, kWeightsPerStep / layout_.record_run());
    codes_.resize(records * layout_.record_run());
    params_.resize(layout_.has_params ? records * layout_.units_per_record : 0);
    planes_.resize(layout_.planes.size());
  }

  /// Elements [begin, begin + out.size()) of the flattened part.
  void decode(std::uint64_t begin, std::span<float> out) {
    const std::uint64_t run = layout_.record_run();
    const std::uint64_t step = codes_.size() / run;
    const std::uint64_t end = begin + out.size();
    const std::uint64_t last_record = ceil_divide(end, run);
    for (std::uint64_t record = begin / run; record < last_record; record += step) {
      const std::uint64_t records = std::min(step, last_record - record);
      const std::uint64_t decoded_begin = record * run;
      const std::uint64_t decoded_end = std::min((record + records) * run, elements_);
      const std::uint64_t wanted_begin = std::max(begin, decoded_begin);
      const std::uint64_t wanted_end = std::min(end, decoded_end);
      const auto target = out.subspan(wanted_begin - begin, wanted_end - wanted_begin);
      if (target.size() == decoded_end - decoded_begin) {
        decode_records(record, records, target);
      } else {  // rows that begin or end inside a block
        partial_.resize(decoded_end - decoded_begin);
        decode_records(record, records, partial_);
        std::copy_n(partial_.begin() + static_cast<std::ptrdiff_t>(wanted_begin - decoded_begin),
                    target.size(), target.begin());
      }
    }
  }

 private:
  void decode_records(std::uint64_t first, std::size_t records, std::span<float> out) {
    const std::size_t units = records * layout_.units_per_record;
    const std::span codes = std::span(codes_).first(units * layout_.run);
    const std::span params = std::span(params_).first(layout_.has_params ? units : 0);
    for (std::size_t i = 0; i < planes_.size(); ++i) {
      const std::size_t bytes = layout_.planes[i].record_bytes;
      planes_[i] = part_.planes[i].subspan(first * bytes, records * bytes);
    }
    unpack_units(format_, layout_, part_.origin, first * layout_.units_per_record, planes_, params, codes);
    format_.decode(params, codes, out);
  }

  const Format& format_;
  const Layout& layout_;
  const PackedPart& part_;
  std::uint64_t elements_;
  std::vector<Code> codes_;
  std::vector<Params> params_;
  std::vector<Bytes> planes_;
  std::vector<float> partial_;
};

/// Parameters and codes of rows whose units lie within them, wherever their planes lie.
void unpack_rows(const Format& format, const Layout& layout, const PackedPart& part, const RowRange& rows,
                 std::span<std::vector<std::byte>> scratch, std::span<Params> params, std::span<Code> codes) {
  unpack_units(format, layout, part.origin, rows.first * rows.units_in_row(layout),
               gather_planes(part.stored, layout, rows, part.planes, scratch), params, codes);
}

/// Rows of a part whose planes lie in another order than its units: gathered a few at a time.
void decode_gathered_rows(const Format& format, const Layout& layout, const PackedPart& part,
                          const RowRange& wanted, std::span<float> out) {
  const std::uint64_t columns = wanted.columns;
  const std::uint64_t step = std::max<std::uint64_t>(kRowsPerGather, kWeightsPerStep / columns);
  std::vector<std::vector<std::byte>> scratch(layout.planes.size());
  std::vector<Params> params;
  std::vector<Code> codes;
  for (std::uint64_t done = 0; done < wanted.count; done += step) {
    const RowRange range{wanted.rows, columns, wanted.first + done, std::min(step, wanted.count - done)};
    const std::uint64_t units = range.count * range.units_in_row(layout);
    params.resize(layout.has_params ? units : 0);
    codes.resize(units * layout.run);
    unpack_rows(format, layout, part, range, scratch, params, codes);
    order_codes(part.stored, codes);
    const auto target = out.subspan(done * columns, range.count * columns);
    format.decode(params, codes, target);
    order_weights(part.stored, target);
  }
}

}  // namespace

PackedMatrix::PackedMatrix(FormatPtr format, std::uint64_t columns, std::vector<PackedPart> parts,
                           Owners owners)
    : format_(std::move(format)),
      layout_(format_->layout(columns)),
      columns_(columns),
      parts_(std::move(parts)),
      owners_(std::move(owners)) {
  assert(!parts_.empty());
  for (const PackedPart& part : parts_) rows_ += part.rows;
}

PackedMatrix PackedMatrix::of_floats(std::vector<float> values, std::uint64_t rows, std::uint64_t columns) {
  assert(values.size() == rows * columns);
  const auto owner = std::make_shared<const std::vector<float>>(std::move(values));
  return {find_format("f32"), columns, {{rows, {std::as_bytes(std::span(*owner))}, {}}}, {owner}};
}

PackedMatrix PackedMatrix::slice(std::uint64_t first, std::uint64_t rows) const {
  assert(first <= rows_ && rows <= rows_ - first);
  PackedMatrix made = *this;
  made.first_ += first;
  made.rows_ = rows;
  return made;
}

const PackedOrigin& PackedMatrix::origin() const {
  return parts_.front().origin;
}

std::uint64_t PackedMatrix::packed_bytes() const {
  if (rows_ == 0 || columns_ == 0) return 0;
  if (!std::ranges::all_of(parts_, [&](const PackedPart& part) { return is_plain(part.stored, layout_); })) {
    std::uint64_t all = 0, rows = 0;
    for (const PackedPart& part : parts_) {
      rows += part.rows;
      for (const Bytes& plane : part.planes) all += plane.size();
    }
    return rows == 0 ? 0 : all / rows * rows_ + all % rows * rows_ / rows;
  }
  const std::uint64_t first = first_ * columns_ / layout_.record_run(),
                      end = ceil_divide((first_ + rows_) * columns_, std::uint64_t{layout_.record_run()});
  std::uint64_t bytes = 0;
  for (const Plane& plane : layout_.planes) bytes += (end - first) * plane.record_bytes;
  return bytes;
}

std::optional<std::vector<Bytes>> PackedMatrix::planes() const {
  if (parts_.size() != 1 || !is_plain(parts_.front().stored, layout_)) return std::nullopt;
  const std::uint64_t begin = first_ * columns_, end = begin + rows_ * columns_;
  const bool at_the_end = first_ + rows_ == parts_.front().rows;
  const std::uint64_t run = layout_.record_run();
  if (begin % run != 0 || (end % run != 0 && !at_the_end)) return std::nullopt;
  const std::uint64_t record = begin / run, records = ceil_divide(end, run) - record;
  std::vector<Bytes> views;
  for (std::size_t i = 0; i < layout_.planes.size(); ++i) {
    const std::size_t bytes = layout_.planes[i].record_bytes;
    views.push_back(parts_.front().planes[i].subspan(record * bytes, records * bytes));
  }
  return views;
}

template <class Visit>
void PackedMatrix::for_each_part(std::uint64_t first, std::uint64_t count, const Visit& visit) const {
  first += first_;
  std::uint64_t start = 0;  // of a part
  for (const PackedPart& part : parts_) {
    const std::uint64_t end = start + part.rows;
    const std::uint64_t from = std::max(first, start), to = std::min(first + count, end);
    if (from < to) visit(part, from - start, to - from, from - first);
    start = end;
  }
}

void PackedMatrix::decode(std::uint64_t first, std::uint64_t count, std::span<float> out) const {
  assert(first <= rows_ && count <= rows_ - first && out.size() == count * columns_);
  if (out.empty()) return;
  for_each_part(first, count, [&](const PackedPart& part, auto row, auto rows, auto before) {
    const auto target = out.subspan(before * columns_, rows * columns_);
    if (is_plain(part.stored, layout_))
      UnitDecoder(*format_, layout_, part, columns_).decode(row * columns_, target);
    else
      decode_gathered_rows(*format_, layout_, part, {part.rows, columns_, row, rows}, target);
  });
}

bool PackedMatrix::rows_hold_units() const {
  return columns_ > 0 && columns_ % layout_.record_run() == 0 &&
         std::ranges::all_of(parts_, [](const PackedPart& part) { return part.stored.columns == nullptr; });
}

void PackedMatrix::unpack(std::uint64_t first, std::uint64_t count, std::span<Params> params,
                          std::span<Code> codes) const {
  assert(rows_hold_units() && first <= rows_ && count <= rows_ - first && codes.size() == count * columns_);
  const std::uint64_t units = layout_.has_params ? columns_ / layout_.run : 0;
  std::vector<std::vector<std::byte>> scratch(layout_.planes.size());
  for_each_part(first, count, [&](const PackedPart& part, auto row, auto rows, auto before) {
    unpack_rows(*format_, layout_, part, {part.rows, columns_, row, rows}, scratch,
                params.subspan(before * units, rows * units),
                codes.subspan(before * columns_, rows * columns_));
  });
}

void PackedMatrix::leave_pages() const {
  for (const PackedPart& part : parts_)
    for (const Bytes& plane : part.planes) leave_mapped_pages(plane);
}

void unpack_units(const Format& format, const Layout& layout, const PackedOrigin& origin, std::uint64_t first,
                  std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) {
  try {
    format.unpack(planes, params, codes);
  } catch (const Error& problem) {
    fail("{}: tensor {}: from {} {} on: {}", origin.file, origin.tensor, unit_word(layout), first,
         problem.what());
  }
  // Without parameters a unit is one weight: ask for all at once, and one by one only to name the culprit.
  std::string why;
  if (!layout.has_params && format.valid({}, codes, &why)) return;
  for (std::size_t i = 0; i * layout.run < codes.size(); ++i) {
    const Params unit = layout.has_params ? params[i] : Params{};
    if (!format.valid(unit, codes.subspan(i * layout.run, layout.run), &why))
      fail("{}: tensor {}: {} {}: {}", origin.file, origin.tensor, unit_word(layout), first + i, why);
  }
}

}  // namespace assay
