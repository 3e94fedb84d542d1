#include "assay/measure/parity.h"

#include <filesystem>
#include <memory>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/base/progress.h"
#include "assay/tokenizer/text_file.h"

namespace assay::app {
namespace {

struct ParityCommand : Common {
  std::string model, reference, prompts;
  std::size_t tokens = 64, window = 0;
  bool any_text = false;
  ParityOptions parity;
  ModelOptions loading;
};

/// Used when --prompts names no file.
const std::vector<std::string>& built_in_prompts() {
  static const std::vector<std::string> prompts = {
      "The city of London is",      "In the beginning",
      "Once upon a time there was", "The most important thing about water is",
      "1 + 1 = 2, 2 + 2 =",         "He opened the door and"};
  return prompts;
}

std::vector<std::string> read_prompts(const std::string& path, bool any_text) {
  if (path.empty()) return built_in_prompts();
  const std::string text = read_text_file(path, any_text).text;
  std::vector<std::string> prompts;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) prompts.push_back(std::move(line));
    begin = end + 1;
  }
  if (prompts.empty()) fail("{}: no prompt found, one a line expected", path);
  return prompts;
}

/// A reference file ends in .json; anything else is a model.
bool is_reference_file(const std::string& path) {
  return std::filesystem::path(path).extension() == ".json";
}

void run_parity(const ParityCommand& options) {
  const LoadedModel model = load(options.loading, options.model, options.context);
  ParityReportInput input{options.model, options.reference, {}, {}, options.parity, {}};
  std::optional<LoadedModel> reference;
  if (is_reference_file(options.reference)) {
    if (!options.prompts.empty())
      fail("{}: a reference file brings its own prompts: --prompts goes with a reference model",
           options.prompts);
    input.cases = parse_parity_cases(read_json_file(options.reference), options.reference);
  } else {
    reference = load(options.loading, options.reference, options.context);
    input.cases = generate_parity_cases(*reference->model, *reference->tokenizer,
                                        read_prompts(options.prompts, options.any_text), options.tokens);
    input.reference_check =
        check_reference(*model.checkpoint, *reference->checkpoint, options.context.progress);
  }
  Progress progress(options.context.progress, "checking", input.cases.size(), "prompts");
  for (ParityCase& reference_case : input.cases) {
    if (options.window > 0) reference_case.window = std::min(options.window, reference_case.new_ids.size());
    input.results.push_back(check_parity(*model.model, reference_case,
                                         reference ? reference->model.get() : nullptr, options.parity));
    progress.advance(1);
  }
  print_timing(options.loading, model);
  if (options.json)
    say_json(parity_json(input));
  else
    say_raw(printable_lines(render_parity_report(input, *model.tokenizer)));
  if (overall_verdict(input.results) == ParityVerdict::mismatch) exit_code() = 1;
}

}  // namespace

void add_parity(CLI::App& app) {
  auto* command =
      app.add_subcommand("parity", "Does the model give the reference's tokens and logits? (exit 1 if not)");
  auto options = std::make_shared<ParityCommand>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--reference", options->reference, "Another engine's output (.json), or a model")
      ->required();
  command->add_option("--prompts", options->prompts, "Prompts, one a line (with a reference model)");
  add_number(command, "--tokens", &options->tokens, "New tokens a prompt (with a reference model)",
             std::size_t{1}, std::size_t{1} << 20)
      ->capture_default_str();
  add_any_text(command, &options->any_text);
  add_number(command, "--window", &options->window, "Leading new tokens that must agree (default: all)",
             std::size_t{0}, std::size_t{1} << 30);
  add_number(command, "--margin", &options->parity.margin_tolerance,
             "Reference margins up to this are undecidable (logits)", 0.0, 1e6)
      ->capture_default_str();
  add_number(command, "--logit-tolerance", &options->parity.logit_tolerance,
             "Largest relative RMS difference of logits", 0.0, 1e6)
      ->capture_default_str();
  add_model_options(command, &options->loading);
  add_common(command, options.get(),
             "  assay parity models/demo --reference tests/data/tiny/eval.json\n"
             "  assay parity model-mlx --reference model-lattice --prompts prompts.txt --tokens 128\n"
             "  assay parity model.gguf --reference reference.json --json");
  command->callback([options] { run_parity(*options); });
}

}  // namespace assay::app
