#pragma once
// Sequential calibration: the model runs block by block over the calibration windows, and each matrix is
// rounded under the inputs that the prefix as it was rounded gives it (layer_stages.h).
#include "assay/calibration/calibration_text.h"
#include "assay/calibration/layer_stages.h"
#include "assay/kernels/context.h"

namespace assay {

/// Rounds the tensors that the plan calls calibrated; `finished` is told each one in the order of the forward
/// pass. An expert that no token or few visit is rounded by its weights alone. A store that holds blocks of
/// an earlier run of the same request gives them back instead. Memory: activations of one block for all
/// windows, one group's Hessian, one matrix. Throws Error.
void calibrate_tensors(const Plan& plan, const CalibrationText& text, CalibratedRoundingOptions options,
                       ResumeStore* store, const Context& context, const CalibratedTensorSink& finished);

}  // namespace assay
