#pragma once
// How many tokens a calibration text counts for, and how far its second moments are shrunk for it.
//
// A token counts by what of its position is new: the share of the text's positions whose token and three
// tokens before it occur nowhere earlier (distinct 4-grams, the distinct-n of Li et al. 2016, arXiv
// 1510.03055). A paragraph or window that is repeated counts once, however often.
#include <cstdint>
#include <span>
#include <vector>

#include "assay/quantize/hessian.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// Distinct positions of the windows in parts of all; 1 for no tokens.
double distinct_share(std::span<const std::vector<TokenId>> windows);

/// Of a matrix's tokens, those that count.
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
