#pragma once
// The table of kernels that compute y = W x on this machine's CPU. A row says what a kernel is called, what
// it needs and what it can hold. Which one runs a matrix is decided here and nowhere else: the first row, in
// the table's order, that the machine runs, the options allow and the matrix suits. No row looks at the name
// of a format. `assay inspect` prints the choice; `--kernel` and `--isa` force it, or fail.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "assay/base/isa.h"
#include "assay/kernels/linear.h"

namespace assay {

/// What the choice of a kernel may depend on.
struct MatrixTraits {
  const Format& format;
  std::uint64_t rows = 0, columns = 0;
  bool rows_hold_units = true;  // PackedMatrix::rows_hold_units()
};

struct LinearKernel {
  std::string_view name;  // as --kernel takes it
  Residency residency;    // which one it is: packed, decoded or stored
  Isa isa;                // that it needs
  bool (*supports)(const MatrixTraits& matrix);
  std::shared_ptr<const Linear> (*prepare)(PackedMatrix matrix, Activations activations);
  std::string (*summary)(const MatrixTraits& matrix, Activations activations);  // as printed
};

/// In order of preference.
std::span<const LinearKernel> linear_kernels();

/// The row of `table` that `options` and the instruction set in use lead to. Throws Error: a name that no row
/// bears, a row that cannot run here or cannot hold the matrix, no row that can.
const LinearKernel& choose_kernel(std::span<const LinearKernel> table, const MatrixTraits& matrix,
                                  const LinearOptions& options);

/// What runs such a matrix, without building it: "decoded to f32, OpenBLAS (Haswell)".
std::string kernel_summary(const MatrixTraits& matrix, const LinearOptions& options);

}  // namespace assay
