#include "assay/measure/pairs.h"

#include <algorithm>

namespace assay {
namespace {

std::vector<std::string> distinct_names(const Measurement& measurement) {
  std::vector<const ModelFacts*> facts{&measurement.reference->facts};
  for (const ModelMeasurement& model : measurement.models) facts.push_back(&model.facts);
  std::vector<std::string> names;
  for (const ModelFacts* fact : facts) {
    const auto same = std::count_if(facts.begin(), facts.end(),
                                    [&](const ModelFacts* other) { return other->name == fact->name; });
    names.push_back(same > 1 ? fact->path : fact->name);
  }
  return names;
}

DivergenceDifference compare_divergence(std::string first, std::string second, const Divergence& a,
                                        const Divergence& b, const Clusters& clusters) {
  DivergenceDifference pair{std::move(first), std::move(second), paired_mean(a.kl, b.kl, clusters), {}};
  pair.interval = pair.difference.interval();
  if (clusters.count() < kEnoughClusters) return pair;
  std::vector<double> gaps(a.kl.size());
  for (std::size_t i = 0; i < gaps.size(); ++i) gaps[i] = a.kl[i] - b.kl[i];
  pair.interval = bootstrap_bca(ratio_mean_statistic(gaps, clusters), 1, clusters.count()).front();
  return pair;
}

}  // namespace

PairwiseComparison compare_pairs(const Measurement& measurement, double margin_percent) {
  PairwiseComparison pairs;
  pairs.names = distinct_names(measurement);
  const Evaluation& evaluation = measurement.evaluation;
  std::vector<const ModelLosses*> losses{&*evaluation.reference};
  for (const ModelLosses& model : evaluation.models) losses.push_back(&model);
  for (std::size_t b = 0; b < losses.size(); ++b)
    for (std::size_t a = b + 1; a < losses.size(); ++a)
      pairs.losses.push_back(compare_losses(pairs.names[a], pairs.names[b], losses[a]->nll, losses[b]->nll,
                                            measurement.clusters));
  decide(pairs.losses, margin_percent);
  for (std::size_t b = 1; b < losses.size(); ++b)
    for (std::size_t a = b + 1; a < losses.size(); ++a)
      pairs.divergences.push_back(compare_divergence(pairs.names[a], pairs.names[b], *losses[a]->divergence,
                                                     *losses[b]->divergence, measurement.clusters));
  return pairs;
}

OrderedJson pairs_json(const Measurement& measurement, const Corpus& corpus, const PairwiseComparison& pairs,
                       double margin_percent) {
  OrderedJson models = OrderedJson::array(), comparisons = OrderedJson::array(),
              differences = OrderedJson::array();
  for (const ModelMeasurement& model : measurement.models)
    models.push_back(measurement_json(measurement, model, corpus));
  for (const Comparison& comparison : pairs.losses)
    comparisons.push_back({{"first", comparison.first},
                           {"second", comparison.second},
                           {"nll_difference", comparison.difference.mean},
                           {"nll_difference_ci95", interval_json(comparison.interval)},
                           {"ppl_ratio", comparison.perplexity_ratio()},
                           {"ppl_ratio_ci95", interval_json(comparison.perplexity_ratio_interval())},
                           {"adjusted_p", comparison.adjusted_p},
                           {"detectable_percent", comparison.detectable_percent},
                           {"decision", decision_name(comparison.decision)},
                           {"verdict", comparison.sentence(margin_percent)}});
  for (const DivergenceDifference& pair : pairs.divergences)
    differences.push_back({{"first", pair.first},
                           {"second", pair.second},
                           {"difference", pair.difference.mean},
                           {"ci95", interval_json(pair.interval)}});
  return {{"original", measurement_json(measurement, *measurement.reference, corpus)},
          {"models", models},
          {"margin_percent", margin_percent},
          {"partial", corpus.partial},
          {"self_sampled", corpus.self_sampled},
          {"comparisons", comparisons},
          {"kld_differences", differences}};
}

}  // namespace assay
