#include <fmt/core.h>

#include <cmath>
#include <map>
#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/quantize/plan.h"
#include "assay/quantize/sensitivity.h"

namespace assay::app {
namespace {

struct Options : Common {
  std::string model, out, calibration = "self", sensitivities, save, embed;
  std::vector<std::string> formats = {"mlx2-g64", "mlx3-g64", "khw3", "mlx4-g64", "khq4", "mlx6-g64"};
  double target_bits = 0;
  std::uint64_t target_bytes = 0;
  std::size_t tokens = 8192;
  std::uint64_t seed = 1;
  bool plain = false;
};

Sensitivities find_sensitivities(const Options& options) {
  if (!options.sensitivities.empty())
    return Sensitivities::from_json(read_json_file(options.sensitivities), options.sensitivities);
  const LoadedModel model = load_model(options.model, {.linear = {Residency::automatic}});
  const CalibrationText text =
      load_calibration_text(model, {options.calibration, options.tokens, 512, options.seed});
  SensitivityOptions sensitivity;
  sensitivity.formats = options.formats;
  sensitivity.feedback = !options.plain;
  Sensitivities found = measure_sensitivities(model, text, sensitivity);
  if (!options.save.empty()) write_file_atomically(options.save, found.to_json().dump(1) + "\n");
  return found;
}

/// Bytes for the matrices inside the blocks.
std::uint64_t linear_budget(const Options& options, const CheckpointPtr& checkpoint,
                            const Sensitivities& sensitivities) {
  if (options.target_bytes == 0) {
    std::uint64_t weights = 0;
    for (const TensorSensitivity& tensor : sensitivities.tensors) weights += tensor.weights;
    return static_cast<std::uint64_t>(options.target_bits * static_cast<double>(weights) / 8);
  }
  // What is not inside the blocks weighs the same whatever is allocated.
  PlanOptions plan;
  plan.embed = options.embed;
  const SizeSummary size = planned_size(make_plan(checkpoint, Recipe{"others", "", {}, false}, plan));
  const std::uint64_t others = size.file_bytes - size.linear_bytes;
  if (others >= options.target_bytes)
    fail("--target-size {}: what is not inside the blocks alone takes {} bytes; --embed makes it smaller",
         options.target_bytes, others);
  return options.target_bytes - others;
}

void run(const Options& options) {
  if ((options.target_bits > 0) == (options.target_bytes > 0))
    fail("one target is needed: --target-bpw X or --target-size BYTES");
  const CheckpointPtr checkpoint = open_model(options.model);
  const Sensitivities sensitivities = find_sensitivities(options);
  std::vector<std::vector<Choice>> items;
  for (const TensorSensitivity& tensor : sensitivities.tensors) {
    items.push_back(tensor.choices);
    make_monotone(items.back());
  }
  const std::vector<std::size_t> chosen = allocate(items, linear_budget(options, checkpoint, sensitivities));

  Recipe recipe;
  recipe.name = options.target_bytes > 0 ? fmt::format("allocated-{}-bytes", options.target_bytes)
                                         : fmt::format("allocated-{:g}-bits", options.target_bits);
  std::map<std::string, std::pair<std::size_t, std::uint64_t>> use;  // format -> tensors, weights
  std::uint64_t bytes = 0, weights = 0;
  double damage = 0;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const TensorSensitivity& tensor = sensitivities.tensors[i];
    Rule rule;
    rule.names = {tensor.tensor};
    rule.format = sensitivities.formats[chosen[i]];
    recipe.rules.push_back(rule);
    bytes += items[i][chosen[i]].bytes;
    weights += tensor.weights;
    damage += items[i][chosen[i]].damage;
    auto& [tensors, held] = use[rule.format];
    ++tensors;
    held += tensor.weights;
  }
  if (!options.embed.empty()) {
    Rule ends;
    ends.roles = {"ends"};
    ends.format = options.embed;
    recipe.rules.push_back(ends);
  }
  const double bits = 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
  recipe.description =
      fmt::format("{:.3f} bits per linear weight, predicted KL divergence {:.4f} nats", bits, damage);
  const std::string text = recipe_to_json(recipe).dump(2) + "\n";
  if (!options.out.empty()) write_file_atomically(options.out, text);
  if (options.json || options.out.empty()) {
    fmt::print("{}", text);
    return;
  }
  for (const auto& [format, count] : use)
    fmt::print("{:<12} {:>4} matrices {:>5.1f} % of the weights\n", format, count.first,
               100.0 * static_cast<double>(count.second) / static_cast<double>(weights));
  fmt::print("{}\nwrote {}; next: assay quantize {} OUT --recipe {} --method gptq --calib TEXT\n",
             recipe.description, options.out, options.model, options.out);
}

}  // namespace

void add_allocate(CLI::App& app) {
  auto* command = app.add_subcommand(
      "allocate", "Share a budget of bits out over a model's matrices by measured damage; writes a recipe");
  auto options = std::make_shared<Options>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command->add_option("--out", options->out, "Recipe file to write (default: printed)");
  command
      ->add_option("--target-bpw", options->target_bits, "Bits per weight of the matrices inside the blocks")
      ->check(CLI::Range(1.0, 32.0));
  command->add_option("--target-size", options->target_bytes, "Bytes of all tensors together");
  command->add_option("--formats", options->formats, "Formats to choose from, separated by commas")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--embed", options->embed, "Format of embedding and head (default: as they are)");
  command->add_option("--calib", options->calibration, "Text to weigh the formats on: a file, or self")
      ->capture_default_str();
  command->add_option("--calib-tokens", options->tokens, "Tokens of that text")
      ->check(CLI::Range(std::size_t{512}, std::size_t{1} << 40))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Which windows of the text are drawn")->capture_default_str();
  command->add_flag("--plain", options->plain, "Weigh formats by plain rounding, not by error feedback");
  command->add_option("--save-sensitivities", options->save, "Keep what was measured in this file");
  command->add_option("--sensitivities", options->sensitivities, "Use such a file instead of measuring");
  add_common(command, options.get(),
             "  assay allocate model --target-bpw 3.5 --calib train.txt --out mix.json\n"
             "  assay allocate model --target-size 300000000 --embed q8_0 --out mix.json\n"
             "  assay allocate model --target-bpw 4 --sensitivities s.json --out mix.json");
  command->callback([options] { run(*options); });
}

}  // namespace assay::app
