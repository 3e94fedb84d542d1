#include "assay/measure/gate.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"

namespace assay {
namespace {

bool is_finite(const Interval& interval) {
  return std::isfinite(interval.low) && std::isfinite(interval.high);
}

}  // namespace

std::string GateCheck::sentence() const {
  return fmt::format("{}: {} is {:.5g}, 95 % interval [{:.5g}, {:.5g}], limit {:g}{}",
                     passed() ? "passed" : "REFUSED", metric, value, interval.low, interval.high, limit,
                     passed() ? "" : ": the upper end exceeds the limit");
}

bool GateResult::passed() const {
  return std::all_of(checks.begin(), checks.end(), [](const GateCheck& check) { return check.passed(); });
}

GateResult apply_gate(const Measurement& measurement, const GateLimits& limits) {
  const ModelMeasurement& model = measurement.models.front();
  if (!model.divergence || !model.against_reference)
    fail("{}: a gate needs a reference, and none was measured", model.facts.path);
  const std::optional<Interval> kld = model.divergence->mean_interval,
                                ratio = model.against_reference->perplexity_ratio_interval();
  if (measurement.clusters.count() < 2)
    fail("{}: {} scored tokens make one cluster: no interval, so no verdict; use more text", model.facts.path,
         measurement.clusters.tokens());
  if (!kld || !ratio || !is_finite(*kld))
    fail("{}: the intervals over {} clusters are not finite, so no verdict; use more text", model.facts.path,
         measurement.clusters.count());
  GateResult result;
  if (limits.max_kld)
    result.checks.push_back({"mean KLD (nats)", model.divergence->mean, *kld, *limits.max_kld});
  if (limits.max_perplexity_increase) {
    const auto percent = [](double factor) { return 100 * (factor - 1); };
    result.checks.push_back({"perplexity increase (%)",
                             percent(model.against_reference->perplexity_ratio()),
                             {percent(ratio->low), percent(ratio->high)},
                             *limits.max_perplexity_increase});
  }
  return result;
}

OrderedJson gate_json(const GateResult& result, const Measurement& measurement, const Corpus& corpus) {
  OrderedJson json = measurement_json(measurement, measurement.models.front(), corpus);
  OrderedJson checks = OrderedJson::array();
  for (const GateCheck& check : result.checks)
    checks.push_back({{"metric", check.metric},
                      {"value", check.value},
                      {"ci95", interval_json(check.interval)},
                      {"limit", check.limit},
                      {"passed", check.passed()}});
  json["gate"] = {{"passed", result.passed()}, {"checks", checks}};
  return json;
}

}  // namespace assay
