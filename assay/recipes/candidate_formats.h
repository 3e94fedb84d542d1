#pragma once
// Formats that several ways of quantising one tensor are compared in.
#include <string>
#include <vector>

#include "assay/formats/format.h"
#include "assay/model/roles.h"
#include "assay/storage/checkpoint.h"

namespace assay {

/// Formats by name, families resolved by the tensor's type. Throws Error for one that can only be read or
/// does not fit the tensor.
std::vector<FormatPtr> candidate_formats(const Tensor& tensor, const std::vector<std::string>& names);

/// As above, formats that do not fit the tensor left out, and those that are refused for its role. None for a
/// router that all are refused for: it stays as it is. Throws Error when none fits.
std::vector<FormatPtr> fitting_formats(const Tensor& tensor, Role role,
                                       const std::vector<std::string>& names);

}  // namespace assay
