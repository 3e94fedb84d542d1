#include "app/measure_options.h"
#include "app/numbers.h"
#include "app/say.h"

#include "assay/recipes/text_record.h"
#include "assay/report/report.h"

namespace assay::app {

EvaluateOptions MeasureOptions::resolve() const {
  EvaluateOptions resolved = evaluate;
  resolved.windows.protocol = protocol == "chunked" ? Protocol::chunked : Protocol::sliding;
  resolved.mode = mode == "decode" ? EvaluationMode::decode : EvaluationMode::prefill;
  return resolved;
}

void add_measure_options(CLI::App* command, MeasureOptions* options) {
  command
      ->add_option("--text", options->corpus.text,
                   "Text file (raw bytes), or self: sampled from the reference model")
      ->required();
  add_any_text(command, &options->corpus.any_text);
  command->add_flag("--any-reference", options->any_reference,
                    "Accept a reference that is not what the model was made from");
  command
      ->add_option(
          "--protocol", options->protocol,
          "sliding: every token once; chunked: the second half of disjoint chunks, each begun with BOS "
          "where the model wants it, as llama.cpp does (which scores one token fewer)")
      ->check(CLI::IsMember({"sliding", "chunked"}))
      ->capture_default_str();
  command
      ->add_option("--mode", options->mode,
                   "prefill: whole windows; decode: token by token through the KV cache")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
  add_number(command, "--window", &options->evaluate.windows.window, "Tokens of context a window",
             std::size_t{2}, std::size_t{1} << 30)
      ->capture_default_str();
  add_number(command, "--stride", &options->evaluate.windows.stride, "Tokens from window to window (sliding)",
             std::size_t{1}, std::size_t{1} << 30)
      ->capture_default_str();
  add_number(command, "--max-tokens", &options->corpus.max_tokens,
             "Cut the text after N tokens: figures are then partial (self: tokens to sample, default 16384)",
             std::size_t{2}, kMostTokens);
  add_number(command, "--batch", &options->evaluate.batch, "Windows run together (default: by memory)",
             std::size_t{1}, std::size_t{1} << 20);
  add_number(command, "--seed", &options->corpus.seed, "Seed of the self-sampled text", std::uint64_t{0},
             kMostSeeds)
      ->capture_default_str();
}

void add_any_text(CLI::App* command, bool* any_text) {
  command->add_flag("--any-text", *any_text, "Take a file as text even if it seems to be something else");
}

std::vector<ReferenceCheck> check_references(const MeasureOptions& options,
                                             std::span<const LoadedModel> models,
                                             const LoadedModel& reference, bool is_gate) {
  std::vector<ReferenceCheck> checks;
  for (const LoadedModel& model : models) {
    checks.push_back(check_reference(*model.checkpoint, *reference.checkpoint, model.context.progress));
    require_source(checks.back(), {options.any_reference, is_gate});
  }
  return checks;
}

void print_reference_checks(const Measurement& measurement) {
  for (const ModelMeasurement& model : measurement.models)
    if (model.reference_check)
      say("{}{}\n", model.reference_check->sentence,
          model.reference_check->relation == ReferenceRelation::other ? " (--any-reference)" : "");
}

std::string interval_text(const std::optional<Interval>& interval) {
  return interval ? fmt::format("[{:.5g}, {:.5g}]", interval->low, interval->high)
                  : "(one cluster: no interval)";
}

void refuse_calibration_text(std::span<const LoadedModel> models, const Corpus& corpus) {
  for (const LoadedModel& model : models)
    refuse_overlap(texts_of(*model.checkpoint), corpus.tokens, corpus.label,
                   tokenizer_identity(*model.tokenizer));
}

void print_run(const Measurement& measurement, const Corpus& corpus) {
  for (const std::string& fact : report_facts(measurement, corpus)) say("{}\n", fact);
}

void print_model(const ModelFacts& facts, const char* label) {
  say("{}: {} ({}{}{}), {:.3f} bits/weight linear, {:.3f} file\n", label, facts.path, facts.container,
      facts.formats.empty() ? "" : ": ", facts.formats, facts.linear_bits_per_weight,
      facts.file_bits_per_weight);
  for (const FileFact& file : facts.files) say("  {}  sha256 {}\n", file.name, file.sha256);
  for (const std::string& kernel : facts.kernels) say("  kernel: {}\n", kernel);
}

}  // namespace assay::app
