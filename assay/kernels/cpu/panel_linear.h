#pragma once
// y = W x from panels of packed weights (panel.h). Few tokens multiply with codes as they are unpacked: what
// limits them is reading the matrix. Many share tiles of weights that were unpacked once. Sums are float32,
// of each row in an order of its own, whatever the number of threads.
#include <memory>
#include <span>
#include <string>

#include "assay/kernels/linear.h"
#include "assay/kernels/table.h"

namespace assay::cpu {

bool avx2_panels_hold(const MatrixTraits& matrix);
std::shared_ptr<const Linear> avx2_panel_linear(PackedMatrix matrix, Activations activations);
std::string avx2_panel_summary(const MatrixTraits& matrix, Activations activations);
bool neon_panels_hold(const MatrixTraits& matrix);
std::shared_ptr<const Linear> neon_panel_linear(PackedMatrix matrix, Activations activations);
std::string neon_panel_summary(const MatrixTraits& matrix, Activations activations);

/// outs[i] = x matrices[i]^T as one piece of work for all threads, where every matrix is made of panels;
/// false, and nothing done, otherwise.
bool multiply_panels(std::span<const Linear* const> matrices, const Rows& x, std::span<const Rows> outs);

}  // namespace assay::cpu
