#pragma once
// A quality gate: the upper end of the damage's 95 % interval must not exceed the limit. A damage that is
// small on average and uncertain is refused.
#include <optional>
#include <string>
#include <vector>

#include "assay/measure/measurement.h"

namespace assay {

struct GateLimits {
  std::optional<double> max_kld;                  // mean, nats a token
  std::optional<double> max_perplexity_increase;  // per cent
};

struct GateCheck {
  std::string metric;  // "mean KLD (nats)", "perplexity increase (%)"
  double value = 0;
  Interval interval;  // 95 %
  double limit = 0;

  bool passed() const { return interval.high <= limit; }
  std::string sentence() const;
};

struct GateResult {
  std::vector<GateCheck> checks;
  bool passed() const;
};

/// Checks the first model of a measurement with a reference. Throws Error when there is no interval (one
/// cluster of text): a damage that is not known is never passed.
GateResult apply_gate(const Measurement& measurement, const GateLimits& limits);

/// The measurement's JSON with "gate": {"passed", "checks": [{metric, value, ci95, limit, passed}]}.
OrderedJson gate_json(const GateResult& result, const Measurement& measurement, const Corpus& corpus);

}  // namespace assay
