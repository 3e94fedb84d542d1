#pragma once
// Under which names, dtypes and shapes a safetensors container stores the planes of a tensor. The same rules
// for Assay's own directory and MLX's (whose formats are the ones with three planes).
#include <string>
#include <vector>

#include "assay/formats/format.h"
#include "assay/storage/tensor.h"

namespace assay {

struct PlaneArray {
  std::string name;
  DType dtype = DType::U8;
  Shape shape;
  std::uint64_t bytes = 0;
};

/// One entry per plane of the format's layout, in its order. The module is the tensor's name without
/// ".weight"; a plane is `<module>.<suffix>`, except that the plane "weight" always bears the tensor's own
/// name. Shapes: units along the last axis in elements of the plane's dtype; a flat format whose runs
/// straddle rows is one axis; a row format's further planes drop the last axis when it is one element. Throws
/// Error when the format cannot hold the shape.
std::vector<PlaneArray> plane_arrays(const std::string& tensor, const Shape& shape, const Format& format);

/// The name without a trailing ".weight".
std::string module_of(const std::string& tensor);

/// The format that a plain array of this dtype is read as: f32, f16 or bf16; null for other dtypes.
FormatPtr plain_float_format(DType dtype);
/// Would a tensor of this format, stored as a plain array, be read back as the same format?
bool is_plain_float(const Format& format);

}  // namespace assay
