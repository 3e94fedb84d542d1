#include "assay/quantize/effective_tokens.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

namespace assay {
namespace {

constexpr std::size_t kRun = 4;  // tokens: one and its context

}  // namespace

double distinct_share(std::span<const std::vector<TokenId>> windows) {
  using Run = std::array<TokenId, kRun>;
  std::vector<Run> runs;
  for (const auto& window : windows) {
    Run run;
    run.fill(-1);
    for (const TokenId token : window) {
      std::shift_left(run.begin(), run.end(), 1);
      run.back() = token;
      runs.push_back(run);
    }
  }
  if (runs.empty()) return 1;
  const auto total = static_cast<double>(runs.size());
  std::ranges::sort(runs);
  const auto repeated = std::ranges::unique(runs);
  return 1 - static_cast<double>(repeated.size()) / total;
}

double effective_tokens(const Hessian& hessian, double distinct_share) {
  return static_cast<double>(hessian.tokens) * distinct_share;
}

double participation_ratio(const Hessian& hessian) {
  std::vector<double> root = hessian.diagonal();
  double live = 0;
  for (double& value : root) {
    live += value > 0;
    value = value > 0 ? 1 / std::sqrt(value) : 0;
  }
  double squares = 0;
  for (std::size_t i = 0; i < hessian.columns; ++i)
    for (std::size_t j = 0; j < hessian.columns; ++j) {
      const double correlation = hessian.at(i, j) * root[i] * root[j];
      squares += correlation * correlation;
    }
  return squares > 0 ? live * live / squares : 0;
}

Shrinkage shrinkage_for(double effective_tokens, std::size_t columns) {
  (void)effective_tokens;
  (void)columns;
  return {};
}

Hessian shrink(const Hessian& hessian, const Shrinkage& shrinkage) {
  Hessian shrunk = hessian;
  const double mean = hessian.trace() / static_cast<double>(hessian.columns);
  for (std::size_t i = 0; i < hessian.columns; ++i)
    for (std::size_t j = 0; j < hessian.columns; ++j) {
      double& value = shrunk.values[i * hessian.columns + j];
      if (i == j)
        value += shrinkage.diagonal * (mean - value);
      else
        value *= (1 - shrinkage.correlations) * (1 - shrinkage.diagonal);
    }
  return shrunk;
}

}  // namespace assay
