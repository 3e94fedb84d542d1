#pragma once
// When a comparison may be called decided. Three words only: better, indistinguishable, not resolved.
#include <optional>
#include <string>
#include <vector>

#include "assay/measure/statistics.h"

namespace assay {

/// Smallest effect worth a verdict, declared before measuring: half a per cent of perplexity.
inline constexpr double kDefaultMarginPercent = 0.5;

enum class Decision { first_better, second_better, indistinguishable, not_resolved };
std::string_view decision_name(Decision decision);

struct Comparison {
  std::string first, second;
  RatioMean difference;                 // nll(first) - nll(second), nats a token: below 0, first is better
  std::optional<Interval> interval;     // 95 %; none with a single cluster
  std::optional<Interval> equivalence;  // 90 %: two one-sided tests at 5 %
  double adjusted_p = 1;                // Holm over all comparisons of the run
  Decision decision = Decision::not_resolved;
  double detectable_percent = 0;  // perplexity change seen with 80 % power at this noise; infinite without it

  /// exp(difference) as a ratio of perplexities, and the same of the interval's ends.
  double perplexity_ratio() const;
  std::optional<Interval> perplexity_ratio_interval() const;
  /// "A is better than B by 1.2 % ppl [0.8, 1.6]", "A and B are indistinguishable (margin 0.5 %)", ...
  std::string sentence(double margin_percent) const;
};

/// Decides a family of comparisons together. `first_better` needs: 95 % interval without 0, Holm-adjusted p
/// below 5 %, an effect of at least the margin, at least kEnoughClusters clusters. `indistinguishable` needs
/// the equivalence interval inside the margin, and as many clusters.
void decide(std::vector<Comparison>& family, double margin_percent);

/// A comparison of two models on the same tokens, not yet decided. With a single cluster there is a
/// difference, and nothing can be claimed of it.
Comparison compare_losses(std::string first, std::string second, std::span<const double> first_nll,
                          std::span<const double> second_nll, const Clusters& clusters);

}  // namespace assay
