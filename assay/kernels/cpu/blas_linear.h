#pragma once
// Kernels for any format: weights become float32, and OpenBLAS multiplies; activations are f32 whatever was
// asked.
#include <memory>
#include <string>

#include "assay/kernels/linear.h"
#include "assay/kernels/table.h"

namespace assay::cpu {

/// All weights decoded once, 4 bytes each.
std::shared_ptr<const Linear> decoded_linear(PackedMatrix matrix, Activations activations);
std::string decoded_summary(const MatrixTraits& matrix, Activations activations);
/// Weights stay where they are stored; tiles of rows are decoded at every call.
std::shared_ptr<const Linear> stored_linear(PackedMatrix matrix, Activations activations);
std::string stored_summary(const MatrixTraits& matrix, Activations activations);

}  // namespace assay::cpu
