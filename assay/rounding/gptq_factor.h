#pragma once
// The factorisation that error feedback runs on: H + lambda I = V D V^T with V unit upper triangular, columns
// of H taken in processing order. Equivalent to the Cholesky factor of the inverse (GPTQ, arXiv 2210.17323),
// but nothing is inverted.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "assay/rounding/hessian.h"

namespace assay {

enum class ColumnOrder {
  natural,
  activation,  // by falling H_jj: large inputs first, while many columns are left to take up their error
  groups       // groups by falling sum of H_jj, columns within a group by falling H_jj
};

struct GptqFactor {
  std::size_t columns = 0;
  std::vector<std::uint32_t> order;  // processing position -> column
  std::vector<double> v;             // [K, K] row-major, in processing order; below the diagonal zero
  std::vector<double> d;             // [K]
  double damping = 0;                // lambda in parts of the mean diagonal, as used

  /// sum D / tr H: the error left when every column's error is taken up, in parts of plain rounding's.
  double predicted_gain = 0;
};

/// Stable: ties by column. `group` divides K for ColumnOrder::groups.
std::vector<std::uint32_t> column_order(const Hessian& hessian, ColumnOrder order, std::size_t group);

/// `damping` is lambda in parts of the mean of the live (non-zero) diagonal; where the matrix is still not
/// positive definite it is raised tenfold, up to 1. Throws Error when that does not help either.
GptqFactor factor_hessian(const Hessian& hessian, ColumnOrder order, std::size_t group, double damping);

}  // namespace assay
