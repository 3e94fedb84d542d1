#include "assay/storage/tensor_planes.h"

#include <cassert>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/formats/table.h"

namespace assay {
namespace {

constexpr std::string_view kWeightSuffix = ".weight";

/// Axes of plane `index`, in elements of its dtype.
Shape plane_shape(const Layout& layout, std::size_t index, const Shape& shape, std::uint64_t records) {
  const Plane& plane = layout.planes[index];
  assert(plane.record_bytes % dtype_size(plane.dtype) == 0);
  const std::uint64_t per_record = plane.record_bytes / dtype_size(plane.dtype);
  if (layout.share == Share::run_flat && layout.run == 1 && per_record == 1) return shape;

  if (plane.per_block)
    return {ceil_divide(as_matrix(shape).rows, layout.block.rows),
            ceil_divide(as_matrix(shape).columns, layout.block.columns) * per_record};

  Shape axes(shape.begin(), shape.empty() ? shape.end() : shape.end() - 1);
  const std::uint64_t columns = as_matrix(shape).columns;
  if (layout.share == Share::row) {
    if (index == 0 || per_record != 1) axes.push_back(per_record);
    return axes;
  }
  if (columns % layout.record_run() != 0) return {records * per_record};
  axes.push_back(columns / layout.record_run() * per_record);
  return axes;
}

}  // namespace

std::string module_of(const std::string& tensor) {
  return tensor.ends_with(kWeightSuffix) ? tensor.substr(0, tensor.size() - kWeightSuffix.size()) : tensor;
}

FormatPtr plain_float_format(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return find_format("f32");
    case DType::F16:
      return find_format("f16");
    case DType::BF16:
      return find_format("bf16");
    default:
      return nullptr;
  }
}

bool is_plain_float(const Format& format) {
  const FormatPtr read_back = plain_float_format(format.layout(1).planes[0].dtype);
  return read_back && read_back->name() == format.name();
}

std::vector<PlaneArray> plane_arrays(const std::string& tensor, const Shape& shape, const Format& format) {
  const MatrixShape matrix = as_matrix(shape);
  if (!checked_product(shape) || !packed_bytes(format, matrix.rows, matrix.columns))
    fail("tensor {}: shape {} overflows 64 bits", tensor, shape_text(shape));
  if (const auto misfit = format.misfit(matrix.rows, matrix.columns))
    fail("tensor {}: {} as {}: {}", tensor, shape_text(shape), format.name(), *misfit);
  const Layout layout = format.layout(matrix.columns);
  std::vector<PlaneArray> arrays;
  for (std::size_t i = 0; i < layout.planes.size(); ++i) {
    const Plane& plane = layout.planes[i];
    const std::uint64_t records = record_count(layout, plane, matrix.rows, matrix.columns);
    arrays.push_back({.name = plane.suffix == "weight" ? tensor : module_of(tensor) + "." + plane.suffix,
                      .dtype = plane.dtype,
                      .shape = plane_shape(layout, i, shape, records),
                      .bytes = records * plane.record_bytes});
  }
  return arrays;
}

}  // namespace assay
