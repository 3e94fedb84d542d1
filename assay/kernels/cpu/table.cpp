#include "assay/kernels/table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "assay/base/error.h"
#include "assay/kernels/cpu/blas_linear.h"
#include "assay/kernels/cpu/panel_linear.h"

namespace assay {
namespace {

bool any_matrix(const MatrixTraits&) {
  return true;
}

constexpr std::array kKernels = {LinearKernel{"avx2", Residency::packed, Isa::avx2, cpu::avx2_panels_hold,
                                              cpu::avx2_panel_linear, cpu::avx2_panel_summary},
                                 LinearKernel{"neon", Residency::packed, Isa::neon, cpu::neon_panels_hold,
                                              cpu::neon_panel_linear, cpu::neon_panel_summary},
                                 LinearKernel{"decoded", Residency::decoded, Isa::baseline, any_matrix,
                                              cpu::decoded_linear, cpu::decoded_summary},
                                 LinearKernel{"stored", Residency::stored, Isa::baseline, any_matrix,
                                              cpu::stored_linear, cpu::stored_summary}};

/// May a kernel of this residency serve who asked for `wanted`?
bool serves(Residency residency, Residency wanted) {
  switch (wanted) {
    case Residency::automatic:
      return residency != Residency::stored;
    case Residency::packed:
      return residency != Residency::decoded;
    case Residency::decoded:
    case Residency::stored:
      return residency == wanted;
  }
  return false;
}

bool runs(const LinearKernel& kernel, const MatrixTraits& matrix) {
  return includes(isa_in_use(), kernel.isa) && kernel.supports(matrix);
}

/// The row that somebody asked for by name.
const LinearKernel& named_kernel(std::span<const LinearKernel> table, const MatrixTraits& matrix,
                                 const std::string& name) {
  const auto found = std::ranges::find(table, name, &LinearKernel::name);
  if (found == table.end()) {
    std::vector<std::string_view> names;
    for (const LinearKernel& kernel : table) names.push_back(kernel.name);
    fail("no kernel is called \"{}\"; there are {}", name, fmt::join(names, ", "));
  }
  if (!includes(isa_in_use(), found->isa))
    fail("kernel {} needs {}; {} is in use", name, isa_name(found->isa), isa_name(isa_in_use()));
  if (!found->supports(matrix))
    fail("kernel {} cannot hold a matrix of {} x {} in {}", name, matrix.rows, matrix.columns,
         matrix.format.name());
  return *found;
}

MatrixTraits traits_of(const PackedMatrix& matrix) {
  return {*matrix.format(), matrix.rows(), matrix.columns(), matrix.rows_hold_units()};
}

}  // namespace

std::span<const LinearKernel> linear_kernels() {
  return kKernels;
}

const LinearKernel& choose_kernel(std::span<const LinearKernel> table, const MatrixTraits& matrix,
                                  const LinearOptions& options) {
  if (!options.kernel.empty()) return named_kernel(table, matrix, options.kernel);
  for (const LinearKernel& kernel : table)
    if (serves(kernel.residency, options.residency) && runs(kernel, matrix)) return kernel;
  fail("no kernel runs a matrix of {} x {} in {} on this machine", matrix.rows, matrix.columns,
       matrix.format.name());
}

std::shared_ptr<const Linear> make_linear(PackedMatrix matrix, const LinearOptions& options) {
  // BLAS counts in int: refuse here, before an index could wrap.
  constexpr std::uint64_t kMaxDimension = 1u << 30;
  if (matrix.rows() > kMaxDimension || matrix.columns() > kMaxDimension)
    fail("a matrix of {} x {} is larger than BLAS can index", matrix.rows(), matrix.columns());
  const LinearKernel& kernel = choose_kernel(kKernels, traits_of(matrix), options);
  return kernel.prepare(std::move(matrix), options.activations);
}

std::string kernel_summary(const MatrixTraits& matrix, const LinearOptions& options) {
  return choose_kernel(kKernels, matrix, options).summary(matrix, options.activations);
}

}  // namespace assay
