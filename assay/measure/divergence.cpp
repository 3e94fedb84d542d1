#include "assay/measure/divergence.h"

#include <cassert>
#include <cmath>

#include "assay/base/error.h"

namespace assay {

PositionScore score_position(std::span<const float> logits, TokenId target) {
  assert(!logits.empty() && target >= 0 && static_cast<std::size_t>(target) < logits.size());
  PositionScore score;
  score.max = logits[0];
  for (std::size_t v = 0; v < logits.size(); ++v) {
    if (!std::isfinite(logits[v]))
      fail("logit {} of {} is {}: the model's output is not finite, its weights are damaged or overflow", v,
           logits.size(), logits[v]);
    if (logits[v] > score.max) {
      score.max = logits[v];
      score.top = static_cast<TokenId>(v);
    }
  }
  const double max = static_cast<double>(score.max);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  score.log_sum = std::log(sum);
  score.nll = score.log_sum - (static_cast<double>(logits[static_cast<std::size_t>(target)]) - max);
  return score;
}

PositionDivergence diverge_position(std::span<const float> reference_logits, const PositionScore& reference,
                                    std::span<const float> test_logits, const PositionScore& test) {
  assert(reference_logits.size() == test_logits.size());
  const double reference_base = static_cast<double>(reference.max) + reference.log_sum;
  const double test_base = static_cast<double>(test.max) + test.log_sum;
  PositionDivergence result;
  for (std::size_t v = 0; v < reference_logits.size(); ++v) {
    const double log_p = static_cast<double>(reference_logits[v]) - reference_base;
    const double log_q = static_cast<double>(test_logits[v]) - test_base;
    result.kl += std::exp(log_p) * (log_p - log_q);
  }
  constexpr double kRounding = -1e-9;
  if (!(result.kl > kRounding))
    fail("KL divergence of a position is {}, at least 0 expected: not a rounding error", result.kl);
  if (result.kl < 0) result.kl = 0;
  result.delta_p = std::exp(-test.nll) - std::exp(-reference.nll);
  return result;
}

}  // namespace assay
