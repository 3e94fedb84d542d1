#include <memory>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/measure/gate.h"
#include "assay/measure/ledger.h"

namespace assay::app {
namespace {

constexpr int kRefused = 3;

struct GateOptions : Common {
  std::string model, reference;
  std::optional<double> max_kld, max_increase;
  ModelOptions loading;
  MeasureOptions measure;
  bool allow_partial = false, record = false;
};

GateLimits limits_of(const GateOptions& options) {
  GateLimits limits;
  limits.max_kld = options.max_kld;
  limits.max_perplexity_increase = options.max_increase;
  if (!limits.max_kld && !limits.max_perplexity_increase)
    fail("a gate needs a limit: --max-kld X or --max-ppl-increase P%, or both");
  return limits;
}

void report(const GateOptions& options, const GateResult& result, const Measurement& measurement,
            const Corpus& corpus) {
  if (options.json) {
    say_json(gate_json(result, measurement, corpus));
    return;
  }
  print_model(measurement.models.front().facts, "model");
  print_model(measurement.reference->facts, "reference");
  print_reference_checks(measurement);
  print_run(measurement, corpus);
  for (const GateCheck& check : result.checks) say("{}\n", check.sentence());
  say("{}: {}{}\n", result.passed() ? "PASSED" : "REFUSED", options.model,
      corpus.partial ? " (PARTIAL text)" : "");
}

void run_gate(const GateOptions& options) {
  const GateLimits limits = limits_of(options);
  const LoadedModel model = load(options.loading, options.model, options.context);
  const LoadedModel reference = load(options.loading, options.reference, options.context);
  if (options.record && !model.checkpoint->manifest)
    fail("{}: --record keeps the verdict in assay.json, and there is none: not an Assay directory",
         options.model);
  const std::vector<ReferenceCheck> checks =
      check_references(options.measure, std::span(&model, 1), reference, true);
  const Corpus corpus = load_corpus(reference, options.measure.corpus);
  refuse_calibration_text(std::span(&model, 1), corpus);
  refuse_calibration_text(std::span(&reference, 1), corpus);
  if (corpus.partial && !options.allow_partial) {
    say_error("REFUSED: --max-tokens cuts {}: a gate needs the whole text, or --allow-partial\n",
              corpus.label);
    exit_code() = kRefused;
    return;
  }
  const Measurement measurement =
      measure(std::span(&model, 1), &reference, corpus, options.measure.resolve(), checks);
  print_timing(options.loading, model, {{"evaluation", measurement.models.front().seconds}});
  const GateResult result = apply_gate(measurement, limits);
  if (options.record) append_measurement(options.model, gate_json(result, measurement, corpus));
  report(options, result, measurement, corpus);
  if (!result.passed()) exit_code() = kRefused;
}

}  // namespace

void add_gate(CLI::App& app) {
  auto* command = app.add_subcommand("gate", "Refuse a model (exit 3) whose damage may exceed a limit");
  auto options = std::make_shared<GateOptions>();
  command->add_option("MODEL", options->model, "The quantised model")->required();
  command->add_option("--reference", options->reference, "The original")->required();
  add_number(command, "--max-kld", &options->max_kld, "Largest mean KL divergence, nats a token",
             std::numeric_limits<double>::min(), 1e6);
  add_percentage(command, "--max-ppl-increase", &options->max_increase,
                 "Largest perplexity increase, like 2%");
  command->add_flag("--allow-partial", options->allow_partial, "Accept a text cut by --max-tokens");
  command->add_flag("--record", options->record, "Append measurement and verdict to the model's assay.json");
  add_measure_options(command, &options->measure);
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay gate model-q4 --reference model --text wiki.test.raw --max-ppl-increase 2%\n"
             "  assay gate model-q4 --reference model --text wiki.test.raw --max-kld 0.05 --record\n"
             "  assay gate model-q4 --reference model --text self --max-kld 0.1 --json");
  command->callback([options] { run_gate(*options); });
}

}  // namespace assay::app
