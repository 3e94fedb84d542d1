#include <memory>

#include "app/budget_options.h"
#include "app/command.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/file.h"

namespace assay::app {
namespace {

struct AllocateOptions : Common {
  std::string model, out, calibration = "self";
  BudgetOptions budget;
  std::uint64_t seed = 1;
};

void run_allocate(const AllocateOptions& options) {
  const AllocatedRecipe allocated =
      find_recipe(options.budget, options.model, options.calibration, options.seed, options.context);
  const std::string text = json_text(recipe_to_json(allocated.recipe), 2) + "\n";
  if (!options.out.empty()) write_file_atomically(options.out, text);
  if (options.json || options.out.empty()) {
    say_raw(text);
    return;
  }
  for (const std::string& line : describe(allocated)) say("{}\n", line);
  say("wrote {}; next: assay quantize {} OUT --recipe {} --method gptq --calib TEXT\n", options.out,
      options.model, options.out);
}

}  // namespace

void add_allocate(CLI::App& app) {
  auto* command = app.add_subcommand(
      "allocate", "Share a budget of bits out over a model's matrices by measured damage; writes a recipe");
  auto options = std::make_shared<AllocateOptions>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--out", options->out, "Recipe file to write (default: printed)");
  add_budget_options(command, &options->budget);
  command->add_option("--embed", options->budget.target.embed,
                      "Format of embedding and head (default: as they are)");
  command->add_option("--calib", options->calibration, "Text to weigh the formats on: a file, or self")
      ->capture_default_str();
  add_number(command, "--calib-tokens", &options->budget.tokens, "Tokens of that text", std::size_t{512},
             kMostTokens)
      ->capture_default_str();
  add_number(command, "--seed", &options->seed, "Which windows of the text are drawn", std::uint64_t{0},
             kMostSeeds)
      ->capture_default_str();
  add_common(command, options.get(),
             "  assay allocate model --target-bpw 3.5 --calib train.txt --out mix.json\n"
             "  assay allocate model --target-size 300000000 --embed q8_0 --out mix.json\n"
             "  assay allocate model --target-bpw 4 --sensitivities s.json --out mix.json");
  command->callback([options] { run_allocate(*options); });
}

}  // namespace assay::app
