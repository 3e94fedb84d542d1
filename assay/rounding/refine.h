#pragma once
// What can still be won on the full Hessian once codes are chosen: better parameters under the codes as they
// are, and better codes one at a time under the parameters as they are. Both lower the layer's loss e H e^T
// of a row or leave the row alone; all is measured on what is stored.
#include <span>
#include <vector>

#include "assay/rounding/gptq_sweep.h"
#include "assay/rounding/hessian.h"

namespace assay {

/// Errors of a panel's rows, and what they cost.
class PanelError {
 public:
  /// Decodes the panel. `hessian` must outlive the object.
  PanelError(const Panel& panel, const Hessian& hessian);

  /// e H e^T of each row (undamped).
  std::vector<double> row_loss() const;
  /// e e^T of each row.
  std::vector<double> row_squares() const;

  std::vector<double> error;     // [rows, columns]: original minus stored
  std::vector<double> gradient;  // error * H

 private:
  std::size_t rows_, columns_;
};

/// Joint weighted least squares over all scales and (where free) biases of a row, rounded to storage. Rows
/// whose loss does not fall keep what they had. Needs an affine view that may be searched and units within
/// rows; otherwise nothing changes.
void refit_parameters(const Panel& panel, const Hessian& hessian);

/// One pass over all columns: a code moves to the nearest one to its row's optimum given all other codes
/// where that lowers the loss.
void descend_coordinates(const Panel& panel, const Hessian& hessian);

}  // namespace assay
