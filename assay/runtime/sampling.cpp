#include "assay/runtime/sampling.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "assay/base/error.h"
#include "assay/formats/multiversion.h"

namespace assay {
namespace {

// Vocabularies are long: several running values at once, which compilers make vectors of.
constexpr std::size_t kLanes = 16;

/// -infinity of none.
ASSAY_LOOP float largest_of_loop(std::span<const float> values) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] = lanes[j] < values[i + j] ? values[i + j] : lanes[j];
  float largest = -std::numeric_limits<float>::infinity();
  for (; i < values.size(); ++i) largest = std::max(largest, values[i]);
  for (const float lane : lanes) largest = std::max(largest, lane);
  return largest;
}
constexpr Multiversion<largest_of_loop> largest_of;

ASSAY_LOOP bool all_finite_loop(std::span<const float> values) {
  float lanes[kLanes] = {};  // 0 x is NaN for what is not finite, and stays
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t j = 0; j < kLanes; ++j) lanes[j] += 0.0f * values[i + j];
  float total = 0;
  for (; i < values.size(); ++i) total += 0.0f * values[i];
  for (const float lane : lanes) total += lane;
  return total == 0.0f;
}
constexpr Multiversion<all_finite_loop> all_finite;

}  // namespace

Sampler::Sampler(const SamplingOptions& options) : options_(options), state_(options.seed) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature))
    fail("temperature is {}, expected 0 (greedy) or more", options.temperature);
  if (options.top_k < 0) fail("top-k is {}, expected 0 (off) or more", options.top_k);
  if (!(options.top_p > 0 && options.top_p <= 1))
    fail("top-p is {}, expected above 0, up to 1", options.top_p);
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same draws on every machine and standard library.
double Sampler::uniform() {
  state_ += 0x9E3779B97F4A7C15u;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53;
}

Pick Sampler::pick(std::span<const float> logits) {
  const TopTwo top = top_two(logits);  // refuses what is not finite
  if (options_.temperature == 0) return {top.best, top.margin};

  candidates_.clear();
  for (std::size_t id = 0; id < logits.size(); ++id)
    candidates_.emplace_back(logits[id], static_cast<std::int32_t>(id));
  const auto by_logit = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  const auto top_k = static_cast<std::size_t>(options_.top_k);
  if (top_k > 0 && top_k < candidates_.size()) {
    std::partial_sort(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(), by_logit);
    candidates_.resize(top_k);
  } else if (options_.top_p < 1) {
    std::sort(candidates_.begin(), candidates_.end(), by_logit);
  }  // else the order does not matter, and ids ascend

  const double maximum = logits[static_cast<std::size_t>(top.best)];
  const auto weight = [&](const auto& candidate) {
    return std::exp((static_cast<double>(candidate.first) - maximum) / options_.temperature);
  };
  double total = 0;
  for (const auto& candidate : candidates_) total += weight(candidate);
  if (options_.top_p < 1) {
    double kept = 0;
    std::size_t count = 0;
    while (count < candidates_.size() && kept < options_.top_p * total) kept += weight(candidates_[count++]);
    candidates_.resize(count);
    total = kept;
  }
  double left = uniform() * total;
  for (const auto& candidate : candidates_) {
    left -= weight(candidate);
    if (left < 0) return {candidate.second, top.margin};
  }
  return {candidates_.back().second, top.margin};  // rounding ate the last share
}

TopTwo top_two(std::span<const float> logits) {
  assert(!logits.empty());
  if (!all_finite(logits)) {
    const auto bad = std::ranges::find_if(logits, [](float logit) { return !std::isfinite(logit); });
    fail("the logit of token {} is {}, a finite number expected: the weights are damaged or overflow",
         bad - logits.begin(), *bad);
  }
  const float largest = largest_of(logits);
  const auto best = static_cast<std::size_t>(std::ranges::find(logits, largest) - logits.begin());
  const float second = std::max(largest_of(logits.first(best)), largest_of(logits.subspan(best + 1)));
  return {static_cast<std::int32_t>(best), largest - second};
}

}  // namespace assay
