#include "app/budget_options.h"
#include "app/numbers.h"

#include <fmt/ranges.h>

#include "app/measure_options.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json_text.h"

namespace assay::app {
namespace {

Sensitivities find_sensitivities(const BudgetOptions& options, const std::string& path,
                                 const std::string& text, std::uint64_t seed, const Context& context) {
  if (!options.sensitivities.empty()) {
    Sensitivities kept =
        Sensitivities::from_json(read_json_file(options.sensitivities), options.sensitivities);
    if (options.formats_given && kept.made_from.formats != options.formats)
      fail("{}: measured with the formats {}, --formats says {}: measure again, or leave --formats out",
           options.sensitivities, fmt::join(kept.made_from.formats, ","), fmt::join(options.formats, ","));
    if (options.plain && kept.made_from.feedback)
      fail("{}: measured with error feedback, --plain asks for plain rounding: measure again",
           options.sensitivities);
    return kept;
  }
  const LoadedModel model =
      load_model(path, {.linear = {Residency::automatic}, .context = context}, options.config_directory);
  SensitivityOptions sensitivity;
  sensitivity.formats = options.formats;
  sensitivity.feedback = !options.plain;
  Sensitivities found = measure_sensitivities(
      model, load_calibration_text(model, {text, options.tokens, 512, seed, options.any_text}), sensitivity);
  require_unchanged(*model.checkpoint);
  if (!options.save.empty()) write_file_atomically(options.save, json_text(found.to_json(), 1) + "\n");
  return found;
}

}  // namespace

void add_budget_options(CLI::App* command, BudgetOptions* options) {
  auto* bits = add_number(command, "--target-bpw", &options->target.bits,
                          "Bits per weight of the matrices inside the blocks, shared out by measured damage",
                          1.0, 32.0);
  add_size(command, "--target-size", &options->target.bytes,
           "Bytes of all tensors together, shared out likewise")
      ->excludes(bits);
  command->add_option("--formats", options->formats, "Formats to choose from, separated by commas")
      ->delimiter(',')
      ->each([options](const std::string&) { options->formats_given = true; })
      ->capture_default_str();
  command->add_flag("--plain", options->plain, "Weigh formats by plain rounding, not by error feedback");
  add_any_text(command, &options->any_text);
  command->add_option("--save-sensitivities", options->save, "Keep what was measured in this file");
  command->add_option("--sensitivities", options->sensitivities, "Use such a file instead of measuring");
}

AllocatedRecipe find_recipe(const BudgetOptions& options, const std::string& model, const std::string& text,
                            std::uint64_t seed, const Context& context) {
  if (!options.given())  // before anything is measured
    fail("one target is needed: bits a weight (--target-bpw) or bytes in all (--target-size)");
  const CheckpointPtr checkpoint = open_model(model, options.config_directory);
  AllocatedRecipe allocated = allocate_recipe(
      checkpoint, find_sensitivities(options, model, text, seed, context), options.target, context.progress);
  require_unchanged(*checkpoint);
  return allocated;
}

}  // namespace assay::app
