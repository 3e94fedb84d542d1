#pragma once
// The next token from logits: greedy, or drawn at a temperature from the top-k and top-p candidates.
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace assay {

struct SamplingOptions {
  double temperature = 0;  // 0: greedy, ties to the lowest id
  int top_k = 0;           // 0: off
  double top_p = 1;        // the smallest set of candidates that holds this probability; 1: off
  std::uint64_t seed = 0;
};

/// Largest logit (ties to the lowest id) and its distance to the second largest. Throws Error when a logit is
/// not finite.
struct TopTwo {
  std::int32_t best;
  float margin;
};
TopTwo top_two(std::span<const float> logits);

/// A token that was drawn.
struct Pick {
  std::int32_t id;
  float margin;  // between the two likeliest, whichever was drawn
};

class Sampler {
 public:
  /// Throws Error for a negative temperature or top_k, or a top_p outside (0, 1].
  explicit Sampler(const SamplingOptions& options);

  /// Deterministic in seed and the calls before. Throws Error when a logit is not finite.
  Pick pick(std::span<const float> logits);

 private:
  double uniform();  // [0, 1)

  SamplingOptions options_;
  std::uint64_t state_;
  std::vector<std::pair<float, std::int32_t>> candidates_;  // logit, id
};

}  // namespace assay
