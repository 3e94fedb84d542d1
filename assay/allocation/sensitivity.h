#pragma once
// What each matrix costs in each format, so that bytes can be shared out. The layer's own loss under its
// inputs says how formats compare within a matrix; one measured divergence a matrix, with that matrix alone
// rounded, says what a unit of that loss costs the model. Damages of different matrices then add up (to first
// order: measure the whole).
#include <string>
#include <vector>

#include "assay/allocation/allocation.h"
#include "assay/base/json.h"
#include "assay/calibration/calibration_text.h"
#include "assay/rounding/calibrated_rounding.h"

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

/// What a measurement holds for: nothing else may use it.
struct SensitivityOrigin {
  std::string model;                 // content_identity()
  std::vector<std::string> formats;  // as asked for
  bool feedback = true;
  std::uint64_t divergence_windows = 0;
  std::string revision;  // of the program
  TextRecords texts;     // what is made of it must not be measured on them
};

struct Sensitivities {
  std::vector<TensorSensitivity> tensors;  // matrices inside the blocks, in the order of the forward pass
  SensitivityOrigin made_from = {};

  /// For a file that is used again: with a checksum over itself.
  OrderedJson to_json() const;
  /// Throws Error for a file that is damaged, of an older version (which did not say what it was measured
  /// on), or holds what no measurement gives.
  static Sensitivities from_json(const Json& json, const std::string& origin);
};

/// Throws Error unless these are the sensitivities of this very model: its weights and configuration, every
/// matrix inside the blocks once, every choice a format that fits it, with the bytes that it takes.
void require_sensitivities_of(const Checkpoint& checkpoint, const Sensitivities& sensitivities,
                              ProgressSink* progress = nullptr);

/// Runs the model over the calibration text once, and over a part of it once for every matrix. Throws Error.
Sensitivities measure_sensitivities(const LoadedModel& model, const CalibrationText& text,
                                    const SensitivityOptions& options);

}  // namespace assay
