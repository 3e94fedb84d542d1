#include "assay/quantize/calibration_summary.h"

#include <fmt/core.h>

#include <algorithm>

#include "assay/calibration/distinct_share.h"

namespace assay {
namespace {

constexpr double kMuchShrunk = 0.25;

}  // namespace

CalibrationSummary summarise_calibration(const CalibrationText& text,
                                         const std::vector<TensorReport>& reports) {
  CalibrationSummary summary;
  summary.tokens = text.tokens();
  summary.effective_tokens = static_cast<double>(summary.tokens) * distinct_share(text.windows);
  for (const TensorReport& report : reports) {
    if (!report.calibration) continue;
    summary.rows += report.calibration->rows;
    summary.rows_guarded += report.calibration->rows_guarded;
    if (!report.calibration->without_inputs.empty())
      ++summary.without_inputs[report.calibration->without_inputs];
    else
      summary.shrinkage = std::max(summary.shrinkage, report.calibration->shrinkage);
  }
  return summary;
}

std::string CalibrationSummary::line() const {
  std::string text = fmt::format("calibrated on {} tokens that count for {:.0f}", tokens, effective_tokens);
  if (shrinkage > 0)
    text += fmt::format("; correlations of inputs shrunk by up to {:.0f} %", 100 * shrinkage);
  if (rows_guarded > 0) text += fmt::format("; {} of {} rows kept near their weights", rows_guarded, rows);
  for (const auto& [reason, tensors] : without_inputs)
    text += fmt::format("; {} tensors by weights alone ({})", tensors, reason);
  return text;
}

std::string CalibrationSummary::warning() const {
  if (shrinkage <= kMuchShrunk && rows_guarded == 0) {
    if (!without_inputs.contains(kZeroInputs)) return {};
    return fmt::format("{} tensors were rounded by their weights alone: {}", without_inputs.at(kZeroInputs),
                       kZeroInputs);
  }
  return fmt::format(
      "the calibration text tells little: its {} tokens count for {:.0f}, each repetition once; where that "
      "is too "
      "few, matrices are rounded by their weights more than by it (give more text, and more varied)",
      tokens, effective_tokens);
}

OrderedJson CalibrationSummary::to_json() const {
  return {{"effective_tokens", effective_tokens},
          {"largest_shrinkage", shrinkage},
          {"rows", rows},
          {"rows_guarded", rows_guarded},
          {"without_inputs", without_inputs}};
}

}  // namespace assay
