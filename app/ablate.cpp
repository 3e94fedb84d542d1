#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include "app/command.h"
#include "app/measure_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/ablation/run.h"
#include "assay/ablation/verdict.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/rotation/rotation.h"

namespace assay::app {
namespace {

constexpr std::size_t kRowsLimit = std::size_t{64} << 20;

struct RunOptions : Common {
  std::string model, out, text, rotation;
  std::size_t max_tokens = 30000;
  double smallest_effect = 0.001;
  AblationOptions ablation;
};

struct VerdictOptions : Common {
  std::vector<std::string> files;
  std::string report;
  double smallest_effect = 0.001;
  bool store = false;
};

void print_verdicts(const std::vector<AblationVerdict>& verdicts) {
  for (const AblationVerdict& verdict : verdicts) say_json(verdict.to_json(), -1);
}

void store_verdicts(const std::string& file, double smallest_effect) {
  write_file_atomically(file, with_verdicts(read_file(file, kRowsLimit), file, smallest_effect));
}

void run_calibration(const RunOptions& options) {
  LoadedModel model =
      load_model(options.model, {.linear = {Residency::automatic}, .context = options.context});
  const Corpus corpus = load_corpus(model, {options.text, options.max_tokens, 1, options.ablation.any_text});
  refuse_calibration_text(std::span(&model, 1), corpus);
  if (!options.rotation.empty()) {
    RotationOptions rotation;
    rotation.scratch_directory = parent_folder(options.out);
    rotation.context = options.context;
    model.checkpoint = rotate_checkpoint(model.checkpoint, rotation);
    model.model = Model::load(model.checkpoint, {.linear = {Residency::decoded}, .context = options.context});
  }
  const std::vector<Cell> cells =
      run_ablation(model, !options.rotation.empty(), corpus, options.ablation, options.out);
  print_verdicts(decide(cells, options.smallest_effect));
  store_verdicts(options.out, options.smallest_effect);
}

void run_verdict(const VerdictOptions& options) {
  std::vector<Cell> cells;
  const auto add = [&](std::string_view lines, const std::string& origin) {
    std::ranges::move(read_cells(lines, origin), std::back_inserter(cells));
  };
  if (options.files.empty()) {
    const std::string lines(std::istreambuf_iterator<char>(std::cin), {});
    add(lines, "standard input");
  }
  for (const std::string& file : options.files) add(read_file(file, kRowsLimit), file);
  const std::vector<AblationVerdict> verdicts = decide(cells, options.smallest_effect);
  print_verdicts(verdicts);
  if (options.store)
    for (const std::string& file : options.files) store_verdicts(file, options.smallest_effect);
  if (!options.report.empty()) write_file_atomically(options.report, ablation_report(cells, verdicts));
}

void add_effect(CLI::App* command, double* effect) {
  add_number(command, "--sesoi", effect, "Smallest effect of interest, in bits a byte", 0.0, 1e6)
      ->capture_default_str();
}

void add_calibration(CLI::App& parent) {
  auto* command = parent.add_subcommand(
      "calibration", "Formats x batches of calibration text x seeds; rows to a file, verdicts printed");
  auto options = std::make_shared<RunOptions>();
  AblationOptions& ablation = options->ablation;
  ablation.formats = {"gf16", "int6-row", "khq4", "khw3", "mlx2-g64"};
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--calib", ablation.calibration, "Text file that calibration windows are drawn from")
      ->required();
  command->add_option("--text", options->text, "Text file to measure on; it must not overlap the other")
      ->required();
  add_any_text(command, &ablation.any_text);
  command->add_option("--out", options->out, "JSON lines; a file that is there is gone on with")->required();
  command->add_option("--formats", ablation.formats, "Formats, separated by commas")
      ->delimiter(',')
      ->capture_default_str();
  add_numbers(command, "--batches", &ablation.batches,
              "Batches of calibration text, separated by commas; 0 is plain rounding", std::uint64_t{0},
              std::uint64_t{1} << 30)
      ->capture_default_str();
  add_numbers(command, "--seeds", &ablation.seeds, "Draws of calibration text, separated by commas",
              std::uint64_t{0}, kMostSeeds)
      ->capture_default_str();
  add_number(command, "--batch-tokens", &ablation.tokens_per_batch, "Tokens of a batch", std::size_t{1},
             kMostTokens)
      ->capture_default_str();
  add_number(command, "--max-tokens", &options->max_tokens, "Tokens of the text to measure on",
             std::size_t{1024}, kMostTokens)
      ->capture_default_str();
  add_number(command, "--heldout-tokens", &ablation.heldout_tokens,
             "Tokens of that text for the held-out layer loss", std::size_t{0}, kMostTokens)
      ->capture_default_str();
  add_number(command, "--damping", &ablation.rounding.damping,
             "Damping of the Hessian, in parts of its mean diagonal", 0.0, 1.0)
      ->capture_default_str();
  command->add_option("--rotate", options->rotation, "Quantise the rotated model in float32 instead")
      ->check(CLI::IsMember({"hadamard"}));
  add_effect(command, &options->smallest_effect);
  add_common(command, options.get(),
             "  assay ablate calibration model --calib train.txt --text test.txt --out rows.jsonl\n"
             "  assay ablate calibration model --calib train.txt --text test.txt --out gf16.jsonl \\\n"
             "    --formats gf16 --rotate hadamard");
  command->callback([options] { run_calibration(*options); });
}

void add_verdict(CLI::App& parent) {
  auto* command =
      parent.add_subcommand("verdict", "Computes the verdicts again from rows, of files or standard input");
  auto options = std::make_shared<VerdictOptions>();
  command->add_option("FILES", options->files, "JSON lines (default: standard input)");
  command->add_option("--report", options->report, "Write the whole as a page of Markdown");
  command->add_flag("--store", options->store,
                    "Keep each file's verdicts in it, behind its cells, in place of earlier ones");
  add_effect(command, &options->smallest_effect);
  add_common(command, options.get(),
             "  assay ablate verdict < rows.jsonl\n"
             "  assay ablate verdict tiny.jsonl small.jsonl --report ablation.md");
  command->callback([options] { run_verdict(*options); });
}

}  // namespace

void add_ablate(CLI::App& app) {
  auto* command = app.add_subcommand("ablate", "Experiments: what one ingredient of quantisation is worth");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  assay ablate calibration model --calib train.txt --text test.txt --out rows.jsonl\n"
      "  assay ablate verdict rows.jsonl --report ablation.md");
  add_calibration(*command);
  add_verdict(*command);
}

}  // namespace assay::app
