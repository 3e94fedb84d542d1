#pragma once
// What each matrix costs in each format, so that bytes can be shared out. The layer's own loss under its
// inputs says how formats compare within a matrix; one measured divergence a matrix, with that matrix alone
// rounded, says what a unit of that loss costs the model. Damages of different matrices then add up (to first
// order: measure the whole).
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/quantize/allocation.h"
#include "assay/quantize/calibrated_rounding.h"
#include "assay/quantize/calibration_text.h"

namespace assay {

struct SensitivityOptions {
  std::vector<std::string> formats;    // as typed in recipes; each matrix chooses among those that fit it
  bool feedback = true;                // losses are those of error feedback, else of plain rounding
  std::size_t divergence_windows = 4;  // of the calibration text, for the measured divergences
};

/// One matrix and what the formats that fit it would cost; damage is divergence in nats a token.
struct TensorSensitivity {
  std::string tensor;
  std::uint64_t weights = 0;
  std::vector<std::string> formats;
  std::vector<Choice> choices;  // one a format
  bool unseen = false;          // by every token: what it costs is a guess
};

struct Sensitivities {
  std::vector<TensorSensitivity> tensors;  // matrices inside the blocks, in the order of the forward pass

  OrderedJson to_json() const;
  static Sensitivities from_json(const Json& json, const std::string& origin);
};

/// Runs the model over the calibration text once, and over a part of it once for every matrix. Throws Error.
Sensitivities measure_sensitivities(const LoadedModel& model, const CalibrationText& text,
                                    const SensitivityOptions& options);

}  // namespace assay
