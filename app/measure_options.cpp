#include "app/measure_options.h"

#include <fmt/core.h>

#include "assay/measure/report.h"
#include "assay/quantize/text_record.h"

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
  command->add_option("--protocol", options->protocol, "sliding: every token once; chunked: llama.cpp's way")
      ->check(CLI::IsMember({"sliding", "chunked"}))
      ->capture_default_str();
  command
      ->add_option("--mode", options->mode,
                   "prefill: whole windows; decode: token by token through the KV cache")
      ->check(CLI::IsMember({"prefill", "decode"}))
      ->capture_default_str();
  command->add_option("--window", options->evaluate.windows.window, "Tokens of context a window")
      ->check(CLI::Range(std::size_t{2}, std::size_t{1} << 30))
      ->capture_default_str();
  command->add_option("--stride", options->evaluate.windows.stride, "Tokens from window to window (sliding)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 30))
      ->capture_default_str();
  command
      ->add_option(
          "--max-tokens", options->corpus.max_tokens,
          "Cut the text after N tokens: figures are then partial (self: tokens to sample, default 16384)")
      ->check(CLI::Range(std::size_t{2}, std::size_t{1} << 40));
  command->add_option("--batch", options->evaluate.batch, "Windows run together (default: by memory)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20));
  command->add_option("--seed", options->corpus.seed, "Seed of the self-sampled text")->capture_default_str();
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
  for (const std::string& fact : report_facts(measurement, corpus)) fmt::print("{}\n", fact);
}

void print_model(const ModelFacts& facts, const char* label) {
  fmt::print("{}: {} ({}{}{}), {:.3f} bits/weight linear, {:.3f} file\n", label, facts.path, facts.container,
             facts.formats.empty() ? "" : ": ", facts.formats, facts.linear_bits_per_weight,
             facts.file_bits_per_weight);
  for (const FileFact& file : facts.files) fmt::print("  {}  sha256 {}\n", file.name, file.sha256);
  for (const std::string& kernel : facts.kernels) fmt::print("  kernel: {}\n", kernel);
}

}  // namespace assay::app
