#pragma once
// What calibration made of its text, over all matrices: for the line that the command prints, and the warning
// when the text told little.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "assay/quantize/quantizer.h"

namespace assay {

struct CalibrationSummary {
  std::uint64_t tokens = 0;
  double effective_tokens = 0;
  double shrinkage = 0;  // of the matrix that was shrunk most, those without inputs left out
  std::uint64_t rows = 0, rows_guarded = 0;           // kept near their weights
  std::map<std::string, std::size_t> without_inputs;  // reason -> tensors

  /// "calibrated on 2048 tokens that count for 13 (...)".
  std::string line() const;
  /// Empty: the text told enough.
  std::string warning() const;
  OrderedJson to_json() const;
};

CalibrationSummary summarise_calibration(const CalibrationText& text,
                                         const std::vector<TensorReport>& reports);

}  // namespace assay
