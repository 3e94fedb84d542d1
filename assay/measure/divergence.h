#pragma once
// What one position's logits say: loss of the target, and distance from a reference's logits. All in f64 from
// f32 logits; nats. KL(P||Q) = sum p (ln p - ln q), P the reference, Q the model under test.
#include <cstdint>
#include <span>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// The log-softmax of one row of logits, ready to be asked for single tokens.
struct PositionScore {
  double nll = 0;      // -ln p(target)
  float max = 0;       // largest logit
  double log_sum = 0;  // ln sum exp(logit - max)
  TokenId top = 0;     // argmax, ties to the lowest id
};

/// Throws Error when a logit is NaN or infinite, naming its index: a model that yields one is broken.
PositionScore score_position(std::span<const float> logits, TokenId target);

struct PositionDivergence {
  double kl = 0;       // KL(reference || test), never negative
  double delta_p = 0;  // test p(target) - reference p(target)
};

/// Both rows have the same length and were scored before. A sum below zero by rounding (down to -1e-9)
/// becomes 0; anything lower cannot be rounding and is an Error.
PositionDivergence diverge_position(std::span<const float> reference_logits, const PositionScore& reference,
                                    std::span<const float> test_logits, const PositionScore& test);

}  // namespace assay
