#include <memory>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/model_options.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/measure/events.h"
#include "assay/measure/ledger.h"

namespace assay::app {
namespace {

struct EvalOptions : Common {
  std::string model, reference, reference_activations;
  ModelOptions loading;
  MeasureOptions measure;
  bool events = false, record = false;
};

void print_divergence(const ModelMeasurement& model) {
  const DivergenceSummary& kld = *model.divergence;
  const Comparison& against = *model.against_reference;
  say("perplexity ratio: {:.5f} {} to the reference, paired\n", against.perplexity_ratio(),
      interval_text(against.perplexity_ratio_interval()));
  say("KLD (nats): mean {:.5g} {}, median {:.4g}, p90 {:.4g}, p95 {:.4g}, p99 {:.4g}, p99.9 {:.4g}, max "
      "{:.4g}\n",
      kld.mean, interval_text(kld.mean_interval), kld.median, kld.p90, kld.p95, kld.p99, kld.p999, kld.max);
  say("same top-1: {:.2f} %; flips: {} right to wrong, {} wrong to right (McNemar p {:.2g})\n",
      100 * kld.top1_agreement, kld.lost, kld.gained, kld.flip_p_value);
  say("delta p of the target: mean {:+.3f} %, RMS {:.3f} %, p1 {:+.2f} %, p99 {:+.2f} %\n",
      100 * kld.mean_delta_p, 100 * kld.rms_delta_p, 100 * kld.delta_p_p1, 100 * kld.delta_p_p99);
}

void print_results(const Measurement& measurement, const Corpus& corpus) {
  const ModelMeasurement& model = measurement.models.front();
  print_model(model.facts, "model");
  if (measurement.reference) print_model(measurement.reference->facts, "reference");
  print_reference_checks(measurement);
  print_run(measurement, corpus);
  say("perplexity{}: {:.6g} {}\n", corpus.partial ? " (PARTIAL text)" : "", model.perplexity,
      interval_text(model.perplexity_interval));
  say("loss: {:.6f} nats a token, {:.5f} bits a byte ({} bytes: {})\n", model.nll_mean, model.bits_per_byte,
      measurement.bytes.bytes, measurement.bytes.counted);
  if (measurement.reference) say("perplexity of the reference: {:.6g}\n", measurement.reference->perplexity);
  if (model.divergence) print_divergence(model);
  say("{} tokens in {} windows, {:.1f} s: {:.0f} tokens/s, {:.1f} GFLOP/s = {:.0f} % of this machine's "
      "sgemm\n",
      measurement.evaluation.targets.size(), measurement.evaluation.windows.size(), model.seconds,
      model.tokens_per_second, model.gflops, 100 * model.gflops / measurement.sgemm_gflops);
}

void evaluate_model(const EvalOptions& options) {
  const LoadedModel model = load(options.loading, options.model, options.context);
  std::optional<LoadedModel> reference;
  if (!options.reference.empty()) {
    ModelOptions loading = options.loading;
    if (!options.reference_activations.empty()) loading.activations = options.reference_activations;
    reference = load(loading, options.reference, options.context);
  }
  if (options.record && !model.checkpoint->manifest)
    fail("{}: --record keeps the measurement in assay.json, and there is none: not an Assay directory",
         options.model);
  if (options.events) say("{}\n", ready_event_line());
  std::vector<ReferenceCheck> checks;
  if (reference) checks = check_references(options.measure, std::span(&model, 1), *reference);
  const Corpus corpus = load_corpus(reference ? *reference : model, options.measure.corpus);
  refuse_calibration_text(std::span(&model, 1), corpus);
  if (reference) refuse_calibration_text(std::span(&*reference, 1), corpus);
  const Measurement measurement = measure(std::span(&model, 1), reference ? &*reference : nullptr, corpus,
                                          options.measure.resolve(), checks);
  const ModelMeasurement& result = measurement.models.front();
  const OrderedJson json = measurement_json(measurement, result, corpus);
  if (options.record) append_measurement(options.model, json);
  print_timing(options.loading, model, {{"evaluation", result.seconds}});
  if (options.events)
    say("{}\n", event_line({result.facts.name, result.perplexity, result.nll_mean,
                            measurement.evaluation.targets.size(), measurement.evaluation.windows.size(),
                            result.seconds}));
  if (options.json)
    say_json(json);
  else
    print_results(measurement, corpus);
  if (options.record && !options.json) say("recorded in {}/assay.json\n", options.model);
}

void run_eval(const EvalOptions& options) {
  try {
    evaluate_model(options);
  } catch (const Error& problem) {
    if (options.events) say("{}\n", error_event_line(problem.what()));
    throw;
  }
}

}  // namespace

void add_eval(CLI::App& app) {
  auto* command = app.add_subcommand("eval", "Measure perplexity, and divergence from a reference");
  auto options = std::make_shared<EvalOptions>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--reference", options->reference,
                      "Full-precision model to measure the divergence from");
  command
      ->add_option("--reference-activations", options->reference_activations,
                   "--activations of the reference, where they are others: what fewer bits cost a model")
      ->check(CLI::IsMember(activation_names()))
      ->needs("--reference");
  add_measure_options(command, &options->measure);
  add_model_options(command, &options->loading);
  command->add_flag("--events", options->events, "Print @@lattice event lines too");
  command->add_flag("--record", options->record, "Append the measurement to the model's assay.json");
  add_common(command, options.get(),
             "  assay eval models/demo --text wiki.test.raw\n"
             "  assay eval model-q4 --reference model --text wiki.test.raw --record\n"
             "  assay eval model-q4 --reference model --text self --max-tokens 8192\n"
             "  assay eval model.gguf --text wiki.test.raw --protocol chunked --mode decode --json");
  command->get_option("--events")->excludes(command->get_option("--json"));  // one document, or lines
  command->callback([options] { run_eval(*options); });
}

}  // namespace assay::app
