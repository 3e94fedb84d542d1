#pragma once
// How much of the calibration text each expert of a mixture saw.
#include <cstdint>
#include <vector>

#include "assay/base/json.h"
#include "assay/quantize/quantizer.h"

namespace assay {

struct ExpertCoverage {
  int layer = 0;
  std::size_t experts = 0;
  std::uint64_t least = 0, median = 0;  // tokens of an expert
  std::size_t seldom = 0;  // experts with fewer than kFewestTokensPerColumn: rounded by weights alone
  std::size_t unseen = 0;  // with none at all
};

/// One entry a layer whose experts were calibrated.
std::vector<ExpertCoverage> expert_coverage(const Plan& plan, const std::vector<TensorReport>& reports);
OrderedJson coverage_json(const std::vector<ExpertCoverage>& coverage);

}  // namespace assay
