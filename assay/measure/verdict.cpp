#include "assay/measure/verdict.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>

namespace assay {
namespace {

double percent(double ratio) {
  return 100 * (ratio - 1);
}

}  // namespace

std::string_view decision_name(Decision decision) {
  switch (decision) {
    case Decision::first_better:
      return "first better";
    case Decision::second_better:
      return "second better";
    case Decision::indistinguishable:
      return "indistinguishable";
    case Decision::not_resolved:
      return "not resolved";
  }
  return "";
}

double Comparison::perplexity_ratio() const {
  return std::exp(difference.mean);
}

std::optional<Interval> Comparison::perplexity_ratio_interval() const {
  return exponential(interval);
}

std::string Comparison::sentence(double margin_percent) const {
  // The better model stands first: its perplexity is the base of the percentage.
  const auto better = [](const std::string& winner, const std::string& loser, double effect, double low,
                         double high) {
    return fmt::format("{} is better than {} by {:.2f} % ppl [{:.2f}, {:.2f}]", winner, loser,
                       percent(std::exp(effect)), percent(std::exp(low)), percent(std::exp(high)));
  };
  switch (decision) {
    case Decision::first_better:
      return better(first, second, -difference.mean, -interval->high, -interval->low);
    case Decision::second_better:
      return better(second, first, difference.mean, interval->low, interval->high);
    case Decision::indistinguishable:
      return fmt::format("{} and {} are indistinguishable (margin {} % ppl)", first, second, margin_percent);
    case Decision::not_resolved:
      break;
  }
  if (difference.clusters < kEnoughClusters)
    return fmt::format("{} against {}: not resolved; {} cluster{} of text, {} needed for a verdict", first,
                       second, difference.clusters, difference.clusters == 1 ? "" : "s", kEnoughClusters);
  return fmt::format("{} against {}: not resolved; detectable effect {:.2f} % ppl", first, second,
                     detectable_percent);
}

Comparison compare_losses(std::string first, std::string second, std::span<const double> first_nll,
                          std::span<const double> second_nll, const Clusters& clusters) {
  Comparison comparison;
  comparison.first = std::move(first);
  comparison.second = std::move(second);
  comparison.difference = paired_mean(first_nll, second_nll, clusters);
  comparison.interval = comparison.difference.interval(0.95);
  comparison.equivalence = comparison.difference.interval(0.90);
  if (clusters.count() < 2) {
    comparison.detectable_percent = std::numeric_limits<double>::infinity();
    return comparison;
  }
  const double freedom = static_cast<double>(clusters.count() - 1);
  const double reach = student_quantile(0.975, freedom) + student_quantile(0.8, freedom);
  comparison.detectable_percent = percent(std::exp(reach * comparison.difference.standard_error));
  return comparison;
}

void decide(std::vector<Comparison>& family, double margin_percent) {
  std::vector<double> p_values;
  for (const Comparison& comparison : family) p_values.push_back(comparison.difference.p_value());
  const std::vector<double> adjusted = holm_adjust(p_values);
  const double margin = std::log1p(margin_percent / 100);
  for (std::size_t i = 0; i < family.size(); ++i) {
    Comparison& comparison = family[i];
    comparison.adjusted_p = adjusted[i];
    comparison.decision = Decision::not_resolved;
    if (comparison.difference.clusters < kEnoughClusters || !comparison.interval || !comparison.equivalence)
      continue;
    const bool excludes_zero = comparison.interval->low > 0 || comparison.interval->high < 0;
    const double effect = comparison.difference.mean;
    if (excludes_zero && adjusted[i] < 0.05 && std::fabs(effect) >= margin)
      comparison.decision = effect < 0 ? Decision::first_better : Decision::second_better;
    else if (comparison.equivalence->low > -margin && comparison.equivalence->high < margin)
      comparison.decision = Decision::indistinguishable;
  }
}

}  // namespace assay
