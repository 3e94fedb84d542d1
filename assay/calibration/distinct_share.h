#pragma once
// What of a text is new: the share of its positions whose token and three tokens before it occur nowhere
// earlier (distinct 4-grams, the distinct-n of Li et al. 2016, arXiv 1510.03055). A paragraph or window that
// is repeated counts once, however often.
#include <span>
#include <vector>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// Distinct positions of the windows in parts of all; 1 for no tokens.
double distinct_share(std::span<const std::vector<TokenId>> windows);

}  // namespace assay
