#pragma once
// Kernels for any format: weights become float32, and OpenBLAS multiplies.
#include <memory>
#include <string>

#include "assay/kernels/linear.h"

namespace assay::cpu {

/// All weights decoded once, 4 bytes each.
std::shared_ptr<const Linear> decoded_linear(PackedMatrix matrix);
std::string decoded_summary();
/// Weights stay where they are stored; tiles of rows are decoded at every call.
std::shared_ptr<const Linear> stored_linear(PackedMatrix matrix);
std::string stored_summary();

}  // namespace assay::cpu
