#include "assay/measure/divergence.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "assay/base/error.h"
#include "assay/formats/multiversion.h"
#include "assay/kernels/exponential.h"

namespace assay {

namespace {

// Independent running sums, in a fixed order, which compilers vectorise.
constexpr std::size_t kLanes = 16;

/// NaN when there is a value that is not finite.
ASSAY_LOOP float largest_logit_loop(std::span<const float> logits) {
  float largest[kLanes], zero[kLanes] = {};  // x * 0 is 0 for what is finite, NaN for all else
  std::fill_n(largest, kLanes, logits[0]);
  std::size_t v = 0;
  for (; v + kLanes <= logits.size(); v += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) {
      const float value = logits[v + j];
      largest[j] = largest[j] < value ? value : largest[j];
      zero[j] += value * 0.0f;
    }
  float result = logits[0], check = 0;
  for (; v < logits.size(); ++v) {
    result = std::max(result, logits[v]);
    check += logits[v] * 0.0f;
  }
  for (std::size_t j = 0; j < kLanes; ++j) {
    result = std::max(result, largest[j]);
    check += zero[j];
  }
  return result + check;
}
constexpr Multiversion<largest_logit_loop> largest_logit;

[[noreturn]] void refuse_values(std::span<const float> logits) {
  const auto damaged = std::ranges::find_if(logits, [](float logit) { return !std::isfinite(logit); });
  fail("logit {} of {} is {}: the model's output is not finite, its weights are damaged or overflow",
       damaged - logits.begin(), logits.size(), *damaged);
}

ASSAY_LOOP double sum_of_exponentials_loop(std::span<const float> logits, double max) {
  double lanes[kLanes] = {};
  std::size_t v = 0;
  for (; v + kLanes <= logits.size(); v += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += exp_inline(static_cast<double>(logits[v + j]) - max);
  double sum = 0;
  for (; v < logits.size(); ++v) sum += exp_inline(static_cast<double>(logits[v]) - max);
  for (const double lane : lanes) sum += lane;
  return sum;
}
constexpr Multiversion<sum_of_exponentials_loop> sum_of_exponentials;

/// sum p (ln p - ln q); the bases are what turns a logit into a log-probability.
ASSAY_LOOP double sum_of_divergence_loop(std::span<const float> reference, double reference_base,
                                         std::span<const float> test, double test_base) {
  double lanes[kLanes] = {};
  std::size_t v = 0;
  const auto term = [&](std::size_t i) {
    const double log_p = static_cast<double>(reference[i]) - reference_base;
    const double log_q = static_cast<double>(test[i]) - test_base;
    return exp_inline(log_p) * (log_p - log_q);
  };
  for (; v + kLanes <= reference.size(); v += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += term(v + j);
  double sum = 0;
  for (; v < reference.size(); ++v) sum += term(v);
  for (const double lane : lanes) sum += lane;
  return sum;
}
constexpr Multiversion<sum_of_divergence_loop> sum_of_divergence;

}  // namespace

PositionScore score_position(std::span<const float> logits, TokenId target) {
  assert(!logits.empty() && target >= 0 && static_cast<std::size_t>(target) < logits.size());
  PositionScore score;
  score.max = largest_logit(logits);
  if (!std::isfinite(score.max)) refuse_values(logits);
  score.top = static_cast<TokenId>(std::ranges::find(logits, score.max) - logits.begin());
  const double max = static_cast<double>(score.max);
  score.log_sum = std::log(sum_of_exponentials(logits, max));
  score.nll = score.log_sum - (static_cast<double>(logits[static_cast<std::size_t>(target)]) - max);
  return score;
}

PositionDivergence diverge_position(std::span<const float> reference_logits, const PositionScore& reference,
                                    std::span<const float> test_logits, const PositionScore& test) {
  assert(reference_logits.size() == test_logits.size());
  const double reference_base = static_cast<double>(reference.max) + reference.log_sum;
  const double test_base = static_cast<double>(test.max) + test.log_sum;
  PositionDivergence result;
  result.kl = sum_of_divergence(reference_logits, reference_base, test_logits, test_base);
  constexpr double kRounding = -1e-9;
  if (!(result.kl > kRounding))
    fail("KL divergence of a position is {}, at least 0 expected: not a rounding error", result.kl);
  if (result.kl < 0) result.kl = 0;
  result.delta_p = std::exp(-test.nll) - std::exp(-reference.nll);
  return result;
}

}  // namespace assay
