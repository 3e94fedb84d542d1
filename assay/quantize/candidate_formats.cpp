#include "assay/quantize/candidate_formats.h"

#include "assay/base/error.h"
#include "assay/formats/table.h"

namespace assay {

std::vector<FormatPtr> candidate_formats(const Tensor& tensor, const std::vector<std::string>& names) {
  const MatrixShape shape = as_matrix(tensor.shape);
  std::vector<FormatPtr> formats;
  for (const std::string& name : names) {
    FormatPtr format = resolve_format(name, is_float(tensor.dtype) ? tensor.dtype : DType::F16);
    if (!format->can_encode()) fail("format {} can only be read, not written", format->name());
    if (const auto problem = format->misfit(shape.rows, shape.columns))
      fail("{}: tensor {}: {}", tensor.file, tensor.name, *problem);
    formats.push_back(std::move(format));
  }
  return formats;
}

}  // namespace assay
