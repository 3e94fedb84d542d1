#include "assay/storage/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "assay/base/checked.h"
#include "assay/base/checksum.h"
#include "assay/base/error.h"

namespace assay {

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

std::vector<std::uint64_t> slice_checksums_of(const Tensor& tensor, std::uint64_t count) {
  if (tensor.format == nullptr || !tensor.parts.empty() || !is_plainly_stored(tensor)) return {};
  const MatrixShape matrix = as_matrix(tensor.shape);
  if (count == 0 || matrix.rows % count != 0) return {};
  const std::uint64_t rows = matrix.rows / count;
  if (rows * matrix.columns % tensor.format->layout(matrix.columns).run != 0) return {};
  std::vector<std::uint64_t> checksums;
  for (std::uint64_t i = 0; i < count; ++i)
    checksums.push_back(checksum_of(row_slice(tensor, i * rows, rows, tensor.name)));
  return checksums;
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
  if (begin % layout.record_run() != 0 || (end % layout.record_run() != 0 && end != tensor.elements()) ||
      !is_plainly_stored(tensor))
    fail("{}: tensor {}: rows {} to {} share blocks of {} with others", tensor.file, tensor.name, first,
         first + rows, layout.record_run());
  Tensor slice;
  slice.name = std::move(name);
  slice.shape = {rows, matrix.columns};
  slice.format = tensor.format;
  slice.dtype = tensor.dtype;
  slice.file = tensor.file;
  slice.owners = tensor.owners;
  const std::uint64_t slices = tensor.slice_checksums.size();
  if (rows == matrix.rows)
    slice.checksum = tensor.checksum;
  else if (tensor.checksum && slices != 0 && matrix.rows / slices == rows && first % rows == 0)
    slice.checksum = tensor.slice_checksums[first / rows];
  const std::uint64_t unit = begin / layout.run, units = ceil_divide(end, layout.run) - unit;
  for (std::size_t i = 0; i < layout.planes.size(); ++i) {
    const Plane& plane = layout.planes[i];
    slice.planes.push_back(tensor.planes[i].subspan(layout.bytes(plane, unit), layout.bytes(plane, units)));
  }
  return slice;
}

PackedMatrix packed_matrix(const Tensor& tensor) {
  if (tensor.format == nullptr)
    fail("{}: tensor {}: stored as {}, which is no weight format", tensor.file, tensor.name,
         dtype_name(tensor.dtype));
  const MatrixShape matrix = as_matrix(tensor.shape);
  if (tensor.parts.empty())
    return {tensor.format,
            matrix.columns,
            {{matrix.rows, tensor.planes, {tensor.file, tensor.name}, tensor.stored}},
            tensor.owners};
  std::vector<PackedPart> parts;
  PackedMatrix::Owners owners = tensor.owners;
  for (const Tensor& part : tensor.parts) {
    parts.push_back({as_matrix(part.shape).rows, part.planes, {part.file, part.name}, part.stored});
    owners.insert(owners.end(), part.owners.begin(), part.owners.end());
  }
  return {tensor.format, matrix.columns, std::move(parts), std::move(owners)};
}

bool is_plainly_stored(const Tensor& tensor) {
  return is_plain(tensor.stored, tensor.format->layout(as_matrix(tensor.shape).columns));
}

bool has_permuted_columns(const Tensor& tensor) {
  return tensor.stored.columns != nullptr || std::ranges::any_of(tensor.parts, has_permuted_columns);
}

void decode_rows(const Tensor& tensor, std::uint64_t first, std::uint64_t rows, std::span<float> out) {
  packed_matrix(tensor).decode(first, rows, out);
}

std::vector<float> decode_all(const Tensor& tensor) {
  const MatrixShape matrix = as_matrix(tensor.shape);
  std::vector<float> weights(tensor.elements());
  decode_rows(tensor, 0, matrix.rows, weights);
  return weights;
}

}  // namespace assay
