#include <memory>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/measure/pairs.h"

namespace assay::app {
namespace {

struct CompareOptions : Common {
  std::string original;
  std::vector<std::string> candidates;
  ModelOptions loading;
  MeasureOptions measure;
  double margin = kDefaultMarginPercent;
};

void print_results(const Measurement& measurement, const Corpus& corpus, const PairwiseComparison& pairs,
                   double margin) {
  print_model(measurement.reference->facts, "original");
  for (const ModelMeasurement& model : measurement.models) print_model(model.facts, "candidate");
  print_reference_checks(measurement);
  print_run(measurement, corpus);
  const char* partial = corpus.partial ? " (PARTIAL text)" : "";
  say("\n{:<24} {:>9} {:>9} {:>10} {:>22} {:>9}\n", "model", "linear", "file", "ppl", "mean KLD", "top-1");
  say("{:<24} {:>9.3f} {:>9.3f} {:>10.5g}{}\n", pairs.names[0],
      measurement.reference->facts.linear_bits_per_weight, measurement.reference->facts.file_bits_per_weight,
      measurement.reference->perplexity, partial);
  for (std::size_t i = 0; i < measurement.models.size(); ++i) {
    const ModelMeasurement& model = measurement.models[i];
    say("{:<24} {:>9.3f} {:>9.3f} {:>10.5g} {:>6.4g} {:<18} {:>6.2f} %{}\n", pairs.names[i + 1],
        model.facts.linear_bits_per_weight, model.facts.file_bits_per_weight, model.perplexity,
        model.divergence->mean, interval_text(model.divergence->mean_interval),
        100 * model.divergence->top1_agreement, partial);
  }
  say("\npaired, {} cluster(s) ({}), Holm over {} comparisons, smallest effect {} % ppl\n",
      measurement.clusters.count(), measurement.clusters.kind, pairs.losses.size(), margin);
  for (const Comparison& comparison : pairs.losses) {
    say("{}\n    ppl ratio {} / {} = {:.5f} {}, adjusted p {:.2g}\n", comparison.sentence(margin),
        comparison.first, comparison.second, comparison.perplexity_ratio(),
        interval_text(comparison.perplexity_ratio_interval()), comparison.adjusted_p);
  }
  for (const DivergenceDifference& pair : pairs.divergences)
    say("KLD({}) - KLD({}) = {:+.4g} {} nats\n", pair.first, pair.second, pair.difference.mean,
        interval_text(pair.interval));
}

void run_compare(const CompareOptions& options) {
  const LoadedModel original = load(options.loading, options.original, options.context);
  std::vector<LoadedModel> candidates;
  for (const std::string& path : options.candidates)
    candidates.push_back(load(options.loading, path, options.context));
  const std::vector<ReferenceCheck> checks = check_references(options.measure, candidates, original);
  const Corpus corpus = load_corpus(original, options.measure.corpus);
  refuse_calibration_text(candidates, corpus);
  refuse_calibration_text(std::span(&original, 1), corpus);
  const Measurement measurement = measure(candidates, &original, corpus, options.measure.resolve(), checks);
  for (std::size_t i = 0; i < candidates.size(); ++i)
    print_timing(options.loading, candidates[i], {{"evaluation", measurement.models[i].seconds}});
  const PairwiseComparison pairs = compare_pairs(measurement, options.margin);
  if (options.json)
    say_json(pairs_json(measurement, corpus, pairs, options.margin));
  else
    print_results(measurement, corpus, pairs, options.margin);
}

}  // namespace

void add_compare(CLI::App& app) {
  auto* command =
      app.add_subcommand("compare", "Which quantised model is better, by how much, is it resolved");
  auto options = std::make_shared<CompareOptions>();
  command->add_option("ORIGINAL", options->original, "The full-precision model")->required();
  command->add_option("CANDIDATES", options->candidates, "One or more models made from it")->required();
  add_number(command, "--margin", &options->margin,
             "Smallest effect worth a verdict, in per cent of perplexity", 0.001, 100.0)
      ->capture_default_str();
  add_measure_options(command, &options->measure);
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay compare model model-q4 --text wiki.test.raw\n"
             "  assay compare model model-q4 model-mlx4 model-w3 --text wiki.test.raw --margin 1\n"
             "  assay compare model model-q4 model-mlx4 --text self --max-tokens 32768 --json");
  command->callback([options] { run_compare(*options); });
}

}  // namespace assay::app
