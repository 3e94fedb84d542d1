#pragma once
// A matrix as its format's own rule rounds it: what a model loads in place of one that is not written yet.
#include <string>

#include "assay/formats/packed_matrix.h"

namespace assay {

/// Planes of `matrix` under the published rule of `format`, in an unnamed file in `scratch_folder` ("":
/// TMPDIR): a few megabytes of memory a thread, whatever the matrix. Throws Error naming file and tensor.
PackedMatrix as_rounded_plainly(const PackedMatrix& matrix, const FormatPtr& format,
                                const std::string& scratch_folder = "");

}  // namespace assay
