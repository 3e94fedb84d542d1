#pragma once
// The flags that every measuring command shares: text, protocol, mode, and how models are loaded.
#include <CLI/CLI.hpp>
#include <string>

#include "assay/measure/measurement.h"

namespace assay::app {

struct MeasureOptions {
  CorpusOptions corpus;
  std::string protocol = "sliding", mode = "prefill";
  EvaluateOptions evaluate;
  bool any_reference = false;

  /// The evaluation options, with protocol and mode by name resolved.
  EvaluateOptions resolve() const;
};

/// Adds --text, --any-text, --protocol, --mode, --window, --stride, --max-tokens, --batch, --seed and, where
/// there is a reference, --any-reference.
void add_measure_options(CLI::App* command, MeasureOptions* options);

/// --any-text, for every command that reads a user's text.
void add_any_text(CLI::App* command, bool* any_text);

/// Is the reference what each model was made from? Throws Error where it is not, unless --any-reference; a
/// gate also refuses a model as its own reference.
std::vector<ReferenceCheck> check_references(const MeasureOptions& options,
                                             std::span<const LoadedModel> models,
                                             const LoadedModel& reference, bool is_gate = false);

/// Throws Error when one of the models, its recipe or its ancestors were made on a part of the corpus.
void refuse_calibration_text(std::span<const LoadedModel> models, const Corpus& corpus);

/// Facts of the run: text, tokens, protocol, clusters, machine. Every number below it means nothing without
/// them.
void print_run(const Measurement& measurement, const Corpus& corpus);
/// What the reference is to each model.
void print_reference_checks(const Measurement& measurement);
/// Facts of one model: formats, bits per weight, file hashes, kernels.
void print_model(const ModelFacts& facts, const char* label);

/// "[12.3, 12.9]", or a reason why there is none.
std::string interval_text(const std::optional<Interval>& interval);

}  // namespace assay::app
