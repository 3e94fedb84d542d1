#include "assay/storage/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "assay/base/checked.h"
#include "assay/base/checksum.h"
#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::size_t kWeightsPerStep =
    8192;  // decoded between two virtual calls; keeps the scratch in cache

const char* unit_word(const Layout& layout) {
  if (layout.share == Share::row) return "row";
  return layout.run == 1 ? "element" : "block";
}

/// Decodes runs of units of one tensor, checking every unit on the way.
class UnitDecoder {
 public:
  UnitDecoder(const Tensor& tensor, const MatrixShape& matrix)
      : tensor_(tensor),
        layout_(tensor.format->layout(matrix.columns)),
        elements_(matrix.rows * matrix.columns) {
    assert(tensor.planes.size() == layout_.planes.size());
    const std::size_t units = std::max<std::size_t>(1, kWeightsPerStep / layout_.run);
    codes_.resize(units * layout_.run);
    params_.resize(layout_.has_params ? units : 0);
    planes_.resize(layout_.planes.size());
  }

  /// Elements [begin, begin + out.size()) of the flattened tensor.
  void decode(std::uint64_t begin, std::span<float> out) {
    const std::uint64_t run = layout_.run;
    const std::uint64_t step = codes_.size() / run;
    const std::uint64_t end = begin + out.size();
    const std::uint64_t last_unit = ceil_divide(end, run);
    for (std::uint64_t unit = begin / run; unit < last_unit; unit += step) {
      const std::uint64_t units = std::min(step, last_unit - unit);
      const std::uint64_t decoded_begin = unit * run;
      const std::uint64_t decoded_end = std::min((unit + units) * run, elements_);
      const std::uint64_t wanted_begin = std::max(begin, decoded_begin);
      const std::uint64_t wanted_end = std::min(end, decoded_end);
      const auto target = out.subspan(wanted_begin - begin, wanted_end - wanted_begin);
      if (target.size() == decoded_end - decoded_begin) {
        decode_units(unit, units, target);
      } else {  // rows that begin or end inside a block
        partial_.resize(decoded_end - decoded_begin);
        decode_units(unit, units, partial_);
        std::copy_n(partial_.begin() + static_cast<std::ptrdiff_t>(wanted_begin - decoded_begin),
                    target.size(), target.begin());
      }
    }
  }

 private:
  void decode_units(std::uint64_t first, std::size_t units, std::span<float> out) {
    const std::span codes = std::span(codes_).first(units * layout_.run);
    const std::span params = std::span(params_).first(layout_.has_params ? units : 0);
    for (std::size_t i = 0; i < planes_.size(); ++i) {
      const std::size_t bytes = layout_.planes[i].bytes_per_unit;
      planes_[i] = tensor_.planes[i].subspan(first * bytes, units * bytes);
    }
    unpack_units(tensor_, layout_, first, planes_, params, codes);
    tensor_.format->decode(params, codes, out);
  }

  const Tensor& tensor_;
  Layout layout_;
  std::uint64_t elements_;
  std::vector<Code> codes_;
  std::vector<Params> params_;
  std::vector<Bytes> planes_;
  std::vector<float> partial_;
};

/// Rows from `first` on of a tensor whose planes lie in another order than its units: gathered a few at a
/// time.
void decode_gathered_rows(const Tensor& tensor, const MatrixShape& matrix, std::uint64_t first,
                          std::span<float> out) {
  const Layout layout = tensor.format->layout(matrix.columns);
  const std::uint64_t rows = out.size() / matrix.columns;
  const std::uint64_t step = std::max<std::uint64_t>(1, kWeightsPerStep / matrix.columns);
  std::vector<std::vector<std::byte>> scratch(layout.planes.size());
  std::vector<Params> params;
  std::vector<Code> codes;
  for (std::uint64_t done = 0; done < rows; done += step) {
    const RowRange range{matrix.rows, matrix.columns, first + done, std::min(step, rows - done)};
    const std::uint64_t units = range.count * range.units_in_row(layout);
    params.resize(layout.has_params ? units : 0);
    codes.resize(units * layout.run);
    unpack_units(tensor, layout, range.first * range.units_in_row(layout),
                 gather_planes(tensor.stored, layout, range, tensor.planes, scratch), params, codes);
    order_codes(tensor.stored, codes);
    const auto target = out.subspan(done * matrix.columns, range.count * matrix.columns);
    tensor.format->decode(params, codes, target);
    order_weights(tensor.stored, target);
  }
}

}  // namespace

MatrixShape as_matrix(const Shape& shape) {
  if (shape.empty()) return {1, 1};
  // Beside K = 0 there is nothing to address, however many rows a header claims: they must cost nothing.
  const auto rows = checked_product(std::span(shape).first(shape.size() - 1));
  return {shape.back() == 0 ? 0 : rows.value_or(0), shape.back()};
}

std::string shape_text(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::uint64_t Tensor::elements() const {
  return checked_product(shape).value_or(0);
}

std::uint64_t Tensor::stored_bytes() const {
  std::uint64_t bytes = 0;
  for (const Bytes& plane : planes) bytes += plane.size();
  for (const Tensor& part : parts) bytes += part.stored_bytes();
  return bytes;
}

std::uint64_t checksum_of(const Tensor& tensor) {
  std::vector<Bytes> planes = tensor.planes;
  for (const Tensor& part : tensor.parts) planes.insert(planes.end(), part.planes.begin(), part.planes.end());
  return checksum_of(planes);
}

void require_checksum(const Tensor& tensor) {
  if (tensor.checksum && checksum_of(tensor) != *tensor.checksum)
    fail("{}: tensor {}: its bytes do not have the checksum that assay.json says: the file is damaged",
         tensor.file, tensor.name);
}

Tensor row_slice(const Tensor& tensor, std::uint64_t first, std::uint64_t rows, std::string name) {
  assert(tensor.format != nullptr && tensor.parts.empty());
  const MatrixShape matrix = as_matrix(tensor.shape);
  assert(first <= matrix.rows && rows <= matrix.rows - first);
  const Layout layout = tensor.format->layout(matrix.columns);
  const std::uint64_t begin = first * matrix.columns, end = begin + rows * matrix.columns;
  if (begin % layout.run != 0 || (end % layout.run != 0 && end != tensor.elements()) ||
      !is_plainly_stored(tensor))
    fail("{}: tensor {}: rows {} to {} share blocks of {} with others", tensor.file, tensor.name, first,
         first + rows, layout.run);
  Tensor slice;
  slice.name = std::move(name);
  slice.shape = {rows, matrix.columns};
  slice.format = tensor.format;
  slice.dtype = tensor.dtype;
  slice.file = tensor.file;
  slice.owners = tensor.owners;
  if (rows == matrix.rows) slice.checksum = tensor.checksum;
  const std::uint64_t unit = begin / layout.run, units = ceil_divide(end, layout.run) - unit;
  for (std::size_t i = 0; i < layout.planes.size(); ++i) {
    const std::size_t bytes = layout.planes[i].bytes_per_unit;
    slice.planes.push_back(tensor.planes[i].subspan(unit * bytes, units * bytes));
  }
  return slice;
}

void unpack_units(const Tensor& tensor, const Layout& layout, std::uint64_t first,
                  std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) {
  try {
    tensor.format->unpack(planes, params, codes);
  } catch (const Error& problem) {
    fail("{}: tensor {}: from {} {} on: {}", tensor.file, tensor.name, unit_word(layout), first,
         problem.what());
  }
  // Without parameters a unit is one weight: ask for all at once, and one by one only to name the culprit.
  std::string why;
  if (!layout.has_params && tensor.format->valid({}, codes, &why)) return;
  for (std::size_t i = 0; i * layout.run < codes.size(); ++i) {
    const Params unit = layout.has_params ? params[i] : Params{};
    if (!tensor.format->valid(unit, codes.subspan(i * layout.run, layout.run), &why))
      fail("{}: tensor {}: {} {}: {}", tensor.file, tensor.name, unit_word(layout), first + i, why);
  }
}

void decode_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t rows, std::span<float> out) {
  if (tensor.format == nullptr)
    fail("{}: tensor {}: stored as {}, which is no weight format", tensor.file, tensor.name,
         dtype_name(tensor.dtype));
  const MatrixShape matrix = as_matrix(tensor.shape);
  assert(first <= matrix.rows && rows <= matrix.rows - first && out.size() == rows * matrix.columns);
  if (out.empty()) return;
  std::uint64_t start = 0;  // of a part
  for (const Tensor& part : tensor.parts) {
    const std::uint64_t count = as_matrix(part.shape).rows, end = start + count;
    const std::uint64_t from = std::max(first, start), to = std::min(first + rows, end);
    if (from < to)
      decode_rows(part, from - start, to - from,
                  out.subspan((from - first) * matrix.columns, (to - from) * matrix.columns));
    start = end;
  }
  if (!tensor.parts.empty()) return;
  if (is_plainly_stored(tensor))
    UnitDecoder(tensor, matrix).decode(first * matrix.columns, out);
  else
    decode_gathered_rows(tensor, matrix, first, out);
}

bool is_plainly_stored(const Tensor& tensor) {
  return is_plain(tensor.stored, tensor.format->layout(as_matrix(tensor.shape).columns));
}

bool has_permuted_columns(const Tensor& tensor) {
  return tensor.stored.columns != nullptr || std::ranges::any_of(tensor.parts, has_permuted_columns);
}

std::vector<float> decode_all(const Tensor& tensor) {
  const MatrixShape matrix = as_matrix(tensor.shape);
  std::vector<float> weights(tensor.elements());
  decode_rows(tensor, 0, matrix.rows, weights);
  return weights;
}

}  // namespace assay
