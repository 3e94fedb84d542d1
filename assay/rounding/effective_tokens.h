#pragma once
// How many tokens a calibration text counts for, and how far its second moments are shrunk for it.
#include <cstddef>

#include "assay/rounding/hessian.h"

namespace assay {

/// Of a matrix's tokens, those that count: that share of the text's positions is no repetition.
double effective_tokens(const Hessian& hessian, double distinct_share);

/// Second moments of so many tokens per column are taken as they are: error feedback then fits the text by no
/// more than a thirtieth of what plain rounding loses.
inline constexpr double kEnoughTokensPerColumn = 16;

/// 0: as measured. 1: nothing left of it.
struct Shrinkage {
  double correlations = 0;  // towards the diagonal
  double diagonal = 0;      // of the diagonal towards its mean
};
Shrinkage shrinkage_for(double effective_tokens, std::size_t columns);
Hessian shrink(const Hessian& hessian, const Shrinkage& shrinkage);

}  // namespace assay
