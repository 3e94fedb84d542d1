#include "assay/rounding/effective_tokens.h"

namespace assay {
namespace {

// What the diagonal is worth beside measured correlations, and equal weights beside a measured diagonal, in
// tokens. Of .1, .5 (and none) per column half a token did best on 512 sound tokens and on a repeated
// paragraph.
constexpr double kPriorTokensPerColumn = 0.5;
constexpr double kPriorTokens = 32;

/// Weight of a prior that is worth `prior` tokens beside so many; none from `enough` on.
double weight_of_prior(double prior, double tokens, double enough) {
  if (tokens >= enough) return 0;
  const double least = prior / (enough + prior);
  return (prior / (tokens + prior) - least) / (1 - least);
}

}  // namespace

double effective_tokens(const Hessian& hessian, double distinct_share) {
  return static_cast<double>(hessian.tokens) * distinct_share;
}

Shrinkage shrinkage_for(double effective_tokens, std::size_t columns) {
  const auto width = static_cast<double>(columns);
  const double enough = kEnoughTokensPerColumn * width;
  return {weight_of_prior(kPriorTokensPerColumn * width, effective_tokens, enough),
          weight_of_prior(kPriorTokens, effective_tokens, enough)};
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
