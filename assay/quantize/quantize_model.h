#pragma once
// The whole quantise journey: checkpoint and recipe in, a complete directory out, or nothing.
#include <functional>
#include <string>
#include <vector>

#include "assay/quantize/calibration_summary.h"
#include "assay/quantize/manifest.h"
#include "assay/rotation/rotation.h"

namespace assay {

struct QuantizeRequest {
  CheckpointPtr source;
  Recipe recipe;
  PlanOptions plan;
  std::string out;
  std::optional<RotationReport> rotation;  // of the source, for the manifest
  std::optional<Calibration> calibration;  // needed where the plan calibrates
  /// Measures the finished model where it is staged, before it appears at `out`; its answer goes into the
  /// manifest's "measurements". Empty: nothing is measured, and the manifest's "not_measured" says
  /// `why_not_measured`.
  std::function<OrderedJson(const std::string& staged)> measure;
  std::string why_not_measured = "not asked for";
  Context context = {};
};

struct QuantizeResult {
  Plan plan;
  std::vector<TensorReport> reports;
  Json manifest;  // as written
  std::optional<CalibrationSummary> calibration;
  std::uint64_t spilled_bytes = 0;  // of activations that went to files beside `out`
};

/// The texts that the finished model, its recipe and its ancestors were made on: none of them may measure it.
TextRecords texts_behind(const QuantizeRequest& request);

/// Is `out` the model's one file, without a folder around it? Then the manifest is returned, and not kept.
bool is_lone_file(Container container, const std::string& out);

/// Throws Error; `out` is then as it was before. `plan`: of this request, where it has been shown already.
QuantizeResult quantize_model(const QuantizeRequest& request);
QuantizeResult quantize_model(const QuantizeRequest& request, Plan plan);

/// Lossless change of container. Throws Error naming the first tensor that would change.
Plan convert_model(const CheckpointPtr& source, Container container, const std::string& out,
                   const Context& context = {});

/// Into an Assay directory in which each expert lies in one piece: what an ExpertStore reads at once.
/// Lossless; nothing of the source is needed afterwards. Throws Error, also for a dense model.
Plan pack_experts(const CheckpointPtr& source, const std::string& out, const Context& context = {});

}  // namespace assay
