#pragma once
// The quantise journey's middle: planned tensors, block by block, through their method and format into a
// writer. Memory: a few megabytes a thread, whatever the model's size.
#include <optional>
#include <string>
#include <vector>

#include "assay/calibration/calibrated_model.h"
#include "assay/recipes/plan.h"
#include "assay/rounding/rounding_error.h"
#include "assay/storage/writer.h"

namespace assay {

struct TensorReport {
  RoundingError error;                                                 // against the source as stored
  std::optional<CalibratedRoundingReport> calibration = std::nullopt;  // of all matrices of the tensor
  std::vector<std::uint64_t> tokens = {};  // that each of its matrices saw: one, or an expert each
};

/// What calibrated tensors need beside the plan.
struct Calibration {
  CalibrationText text;
  CalibratedRoundingOptions rounding;
  /// Bytes of activations that stay in memory; the rest goes to unnamed files beside the output. 0: half of
  /// what is available. The result does not depend on it. A context with memory of its own has the last word.
  std::uint64_t memory = 0;
};

/// Writes every tensor of the plan (in the plan's order, which must be the writer's). Returns one report a
/// tensor.
/// `calibration` is needed where a tensor of the plan is calibrated; with a store it can go on after a kill.
std::vector<TensorReport> quantize_tensors(const Plan& plan, CheckpointWriter& writer,
                                           const Calibration* calibration = nullptr,
                                           ResumeStore* store = nullptr, const Context& context = {});

/// Writes a model's tensors unchanged in value under the formats planned (`convert`). Throws if one would
/// change.
void transcode_tensors(const Plan& plan, CheckpointWriter& writer, ProgressSink* progress = nullptr);

}  // namespace assay
