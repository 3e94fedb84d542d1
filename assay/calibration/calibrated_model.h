#pragma once
// Sequential calibration: the model runs block by block over the calibration windows, and each matrix is
// rounded at the moment its inputs are first seen, inputs that come from the prefix as it was rounded. One
// pass is enough, and it works for every block that is made of Linear layers.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "assay/calibration/calibration_text.h"
#include "assay/calibration/resume_store.h"
#include "assay/recipes/plan.h"
#include "assay/rounding/calibrated_rounding.h"

namespace assay {

/// What a calibrated matrix became: a tensor, or of a stack of experts the rows from `first_row` on. Its
/// planes as stored, and what it cost.
struct CalibratedTensor {
  std::uint64_t first_row = 0;
  std::vector<std::vector<std::byte>> planes;
  RoundingError error;  // of the weights
  CalibratedRoundingReport report;
};

/// Rounds the tensors that the plan calls calibrated; `finished` is told each one (index into plan.tensors)
/// as soon as it is done, in the order of the forward pass. An expert that no token or few visit is rounded
/// by its weights alone. A store that holds blocks of an earlier run of the same request gives them back
/// instead. Memory: activations of one block for all windows, from `memory`, one
/// matrix and its Hessian. Throws Error.
void calibrate_tensors(const Plan& plan, const CalibrationText& text,
                       const CalibratedRoundingOptions& options, ResumeStore* store, MemorySource& memory,
                       const std::function<void(std::size_t tensor, const CalibratedTensor&)>& finished);

}  // namespace assay
