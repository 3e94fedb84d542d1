#include "assay/recipes/candidate_formats.h"

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/recipes/plan.h"

namespace assay {

namespace {

FormatPtr writable_format(const Tensor& tensor, const std::string& name) {
  FormatPtr format = resolve_format(name, is_float(tensor.dtype) ? tensor.dtype : DType::F16);
  if (!format->can_encode()) fail("format {} can only be read, not written", format->name());
  return format;
}

std::optional<std::string> misfit(const Tensor& tensor, const Format& format) {
  const MatrixShape shape = as_matrix(tensor.shape);
  return format.misfit(shape.rows, shape.columns);
}

}  // namespace

std::vector<FormatPtr> candidate_formats(const Tensor& tensor, const std::vector<std::string>& names) {
  std::vector<FormatPtr> formats;
  for (const std::string& name : names) {
    formats.push_back(writable_format(tensor, name));
    if (const auto problem = misfit(tensor, *formats.back()))
      fail("{}: tensor {}: {}", tensor.file, tensor.name, *problem);
  }
  return formats;
}

std::vector<FormatPtr> fitting_formats(const Tensor& tensor, Role role,
                                       const std::vector<std::string>& names) {
  std::vector<FormatPtr> formats;
  for (const std::string& name : names)
    if (FormatPtr format = writable_format(tensor, name); !misfit(tensor, *format))
      formats.push_back(std::move(format));
  if (formats.empty())
    fail("{}: tensor {}: none of the formats to choose from fits its {} columns", tensor.file, tensor.name,
         as_matrix(tensor.shape).columns);
  std::erase_if(formats, [&](const FormatPtr& format) { return is_refused_for(role, *format, tensor); });
  return formats;
}

}  // namespace assay
