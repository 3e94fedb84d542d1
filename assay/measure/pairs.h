#pragma once
// All pairs of models on the same tokens: each candidate against the original and against each other.
#include <string>
#include <vector>

#include "assay/measure/measurement.h"

namespace assay {

/// Difference of two candidates' mean divergence from the original, paired.
struct DivergenceDifference {
  std::string first, second;
  RatioMean difference;              // KLD(first) - KLD(second), nats
  std::optional<Interval> interval;  // 95 %, BCa from kEnoughClusters clusters on, else t; none with one
};

struct PairwiseComparison {
  std::vector<std::string> names;  // original first; made distinct by their paths where they collide
  std::vector<Comparison> losses;  // decided together (Holm)
  std::vector<DivergenceDifference> divergences;
};

/// Needs a measurement with a reference. With a single cluster everything is "not resolved".
PairwiseComparison compare_pairs(const Measurement& measurement, double margin_percent);

/// {"original": measurement, "models": [measurement], "comparisons": [...], "kld_differences": [...]}.
OrderedJson pairs_json(const Measurement& measurement, const Corpus& corpus, const PairwiseComparison& pairs,
                       double margin_percent);

}  // namespace assay
