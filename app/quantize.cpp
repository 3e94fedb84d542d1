#include <cmath>
#include <memory>

#include "app/budget_options.h"
#include "app/command.h"
#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/measure/measurement.h"
#include "assay/model/completeness.h"
#include "assay/quantize/expert_coverage.h"
#include "assay/quantize/quantize_model.h"

namespace assay::app {
namespace {

struct QuantizeOptions : Common {
  std::string model, out, recipe, embed, config_directory;
  std::string container = "assay", method, calibration;
  std::size_t calibration_tokens = 32768;
  std::uint64_t calibration_memory = 0;
  CalibratedRoundingOptions rounding;
  BudgetOptions budget;
  std::string measure = "self";
  std::size_t measure_tokens = 4096;
  std::uint64_t seed = 1;
  std::string rotation;
  std::uint64_t rotation_seed = kRotationSeed;
  bool dry_run = false;
};

OrderedJson plan_json(const Plan& plan) {
  const SizeSummary size = planned_size(plan);
  OrderedJson json = {{"linear_bits_per_weight", size.linear_bits()},
                      {"file_bits_per_weight", size.file_bits()},
                      {"bytes", size.file_bytes},
                      {"notes", plan.notes},
                      {"tensors", OrderedJson::array()}};
  for (const TensorPlan& tensor : plan.tensors)
    json["tensors"].push_back({{"name", tensor.source->name},
                               {"role", std::string(role_name(tensor.role))},
                               {"from", tensor.source->format->name()},
                               {"to", tensor.format->name()},
                               {"method", method_name(tensor.method)}});
  return json;
}

void print_plan(const Plan& plan) {
  say("{:<52} {:<16} {:<16} {:<18} {}\n", "tensor", "shape", "from", "to", "method");
  for (const TensorPlan& tensor : plan.tensors)
    say("{:<52} {:<16} {:<16} {:<18} {}\n", tensor.source->name, shape_text(tensor.source->shape),
        tensor.source->format->name(), tensor.format->name(), method_name(tensor.method));
}

void print_size(const Plan& plan, const Checkpoint& source) {
  const SizeSummary before = stored_size(source), after = planned_size(plan);
  say("bits per weight: {:.3f} linear, {:.3f} file (source {:.3f}); {} bytes of {} ({:.1f} %)\n",
      after.linear_bits(), after.file_bits(), before.file_bits(), after.file_bytes, before.file_bytes,
      100.0 * static_cast<double>(after.file_bytes) / static_cast<double>(before.file_bytes));
}

/// The source for a text that is read with it or sampled from it: decoded only to write the text itself, and
/// gone before anything is rounded.
LoadedModel load_for_text(const QuantizeOptions& options, const std::string& text) {
  return load_model(
      options.model,
      {.linear = {text == "self" ? Residency::automatic : Residency::stored}, .context = options.context},
      options.config_directory);
}

/// How the staged model is measured against its source, which is loaded when it comes to that; the
/// description of the model names where it will lie.
class LossMeasurer {
 public:
  LossMeasurer(const QuantizeOptions& options, const TextRecords& texts) : options_(options) {
    const LoadedModel source = load_for_text(options, options.measure);
    corpus_ =
        load_corpus(source, {options.measure, options.measure_tokens, options.seed, options.budget.any_text});
    refuse_overlap(texts, corpus_.tokens, corpus_.label, tokenizer_identity(*source.tokenizer));
  }

  OrderedJson operator()(const std::string& staged) const {
    const LoadedModel source =
        load_model(options_.model, {.linear = {Residency::automatic}, .context = options_.context},
                   options_.config_directory);
    const LoadedModel quantised =
        load_model(staged, {.linear = {Residency::automatic}, .context = options_.context});
    Measurement measured = assay::measure(std::span(&quantised, 1), &source, corpus_, {});
    measured.models[0].facts.path = options_.out;
    measured.models[0].facts.name = options_.out;
    return measurement_json(measured, measured.models[0], corpus_);
  }

 private:
  const QuantizeOptions& options_;
  Corpus corpus_;
};

void prepare_calibration(const QuantizeOptions& options, QuantizeRequest& request) {
  if (!request.plan.calibration) return;
  const LoadedModel source = load_for_text(options, options.calibration);
  request.calibration =
      Calibration{load_calibration_text(source, {options.calibration, options.calibration_tokens, 512,
                                                 options.seed, options.budget.any_text}),
                  options.rounding, options.calibration_memory};
  if (!options.json)
    for (const std::string& note : request.calibration->text.text_notes)
      say("note: {}: {}\n", options.calibration, note);
}

/// What cannot be measured is not written, unless that is asked for: it could not be run either.
void prepare_measurement(const QuantizeOptions& options, QuantizeRequest& request) {
  if (options.measure == "none") {
    request.why_not_measured = "--measure none";
    if (const auto why = why_not_runnable(*request.source)) {
      request.why_not_measured += ": " + *why;
      if (!options.json)
        say("note: {}: eval, run, gate, parity, logits and calibration will not work on {}\n", *why,
            options.out);
    }
    return;
  }
  try {
    auto measurer = std::make_shared<LossMeasurer>(options, texts_behind(request));
    request.measure = [measurer](const std::string& staged) { return (*measurer)(staged); };
  } catch (const Error& problem) {
    fail("{}; what cannot be measured is not written (--measure none writes it, unmeasured)", problem.what());
  }
}

/// What the experts of each layer saw of the calibration text.
void print_coverage(const std::vector<ExpertCoverage>& coverage) {
  if (coverage.empty()) return;
  say("tokens that experts saw:\n{:>5}  {:>7}  {:>7}  {:>7}  {:>22}  {:>6}\n", "layer", "experts", "least",
      "median", "few, rounded by weights", "unseen");
  for (const ExpertCoverage& layer : coverage)
    say("{:>5}  {:>7}  {:>7}  {:>7}  {:>23}  {:>6}\n", layer.layer, layer.experts, layer.least, layer.median,
        layer.seldom, layer.unseen);
}

void print_result(const QuantizeOptions& options, const QuantizeResult& result, const Checkpoint& source) {
  print_size(result.plan, source);
  if (result.calibration) say("{}\n", result.calibration->line());
  print_coverage(expert_coverage(result.plan, result.reports));
  double worst = -1;
  std::size_t worst_index = 0;
  for (std::size_t i = 0; i < result.reports.size(); ++i)
    if (result.reports[i].error.relative_rms() > worst) {
      worst = result.reports[i].error.relative_rms();
      worst_index = i;
    }
  if (worst > 0)
    say("largest error of a tensor: {:.4f} relative RMS, {} as {}\n", worst,
        result.plan.tensors[worst_index].source->name, result.plan.tensors[worst_index].format->name());
  if (const auto reason = result.manifest.find("not_measured"); reason != result.manifest.end()) {
    say("loss NOT measured: {}\n", reason->get<std::string>());
  } else {
    const Json& loss = result.manifest["measurements"][0];
    say("measured on {} tokens{}: perplexity {:.3f} (original {:.3f})", json_text(loss["tokens"]),
        loss["self_sampled"].get<bool>() ? " sampled from the original" : "",
        loss["perplexity"].get<double>(), std::exp(loss["reference"]["nll"].get<double>()));
    if (loss.contains("kld"))
      say(", mean KL divergence {:.4f} nats, same first choice {:.1f} %{}", loss["kld"]["mean"].get<double>(),
          100 * loss["top1_agreement"].get<double>(),
          loss["kld"]["ci95"].is_null() ? " (one cluster: no interval)" : "");
    say("\n");
  }
  say("wrote {}\n", options.out);
  if (is_lone_file(parse_writable_container(options.container), options.out))
    say("note: a lone file has no manifest: name a folder to keep what it was made of and what it lost\n");
}

void print_rotation(const RotationReport& rotation) {
  Symmetry fused, rotated;  // means over matrices
  for (const RotatedTensor& tensor : rotation.tensors) {
    fused.row_mean += tensor.fused.row_mean;
    fused.group_skew += tensor.fused.group_skew;
    rotated.row_mean += tensor.rotated.row_mean;
    rotated.group_skew += tensor.rotated.group_skew;
  }
  const auto count = static_cast<double>(rotation.tensors.size());
  say("rotated by a Hadamard matrix in blocks of {} of {}; mean of a row {:.2f} % of the largest weight "
      "before, "
      "{:.2f} % after (symmetric formats suit below 5 %); |min + max| of groups {:.1f} % and {:.1f} % of "
      "their "
      "range\n",
      rotation.block, rotation.size, 100 * fused.row_mean / count, 100 * rotated.row_mean / count,
      100 * fused.group_skew / count, 100 * rotated.group_skew / count);
  if (rotation.untied)
    say("note: rotation unties the head from the embedding: {} bytes more as stored in the source\n",
        rotation.untied_bytes);
}

/// By name or file, or shared out to a budget.
Recipe find_recipe(const QuantizeOptions& options) {
  if (options.budget.given() != options.recipe.empty())
    fail("one of --recipe, --target-bpw and --target-size is needed: what to quantise to");
  if (!options.budget.given()) return load_recipe(options.recipe);
  BudgetOptions budget = options.budget;
  budget.target.embed = options.embed;
  budget.config_directory = options.config_directory;
  const AllocatedRecipe allocated =
      app::find_recipe(budget, options.model, options.calibration.empty() ? "self" : options.calibration,
                       options.seed, options.context);
  if (!options.json) {
    for (const std::string& line : describe(allocated)) say("{}\n", line);
    if (!options.rotation.empty()) say("note: shared out by the damage to the model before its rotation\n");
  }
  return allocated.recipe;
}

void run_quantize(const QuantizeOptions& options) {
  QuantizeRequest request;
  request.context = options.context;
  request.source = open_model(options.model, options.config_directory);
  if (!options.rotation.empty()) {
    RotationOptions rotation;
    rotation.seed = options.rotation_seed;
    rotation.scratch_directory = parent_folder(options.out);
    rotation.context = options.context;
    // Rotated weights are f32; scales keep the width that those of the source would have.
    request.plan.parameters = DType::F16;
    for (const Tensor& tensor : request.source->tensors)
      if (is_float(tensor.dtype) && tensor.shape.size() == 2) request.plan.parameters = tensor.dtype;
    request.source = rotate_checkpoint(request.source, rotation, &request.rotation.emplace());
    if (!options.json) print_rotation(*request.rotation);
  }
  request.recipe = find_recipe(options);
  request.plan.container = parse_writable_container(options.container);
  request.plan.embed = options.embed;
  if (!options.method.empty()) request.plan.method = *parse_rounding_method(options.method);
  request.plan.calibration = !options.calibration.empty() && options.calibration_tokens > 0;
  if (options.method == "gptq" && options.calibration.empty())
    fail("--method gptq needs a text to calibrate on: --calib FILE, or --calib self");
  request.out = options.out;
  Plan plan = make_plan(request.source, request.recipe, request.plan);  // refuses before any work
  if (!options.json)
    for (const std::string& note : plan.notes) say("note: {}\n", note);
  if (options.dry_run) {
    if (options.json) {
      say_json(plan_json(plan));
      return;
    }
    print_plan(plan);
    print_size(plan, *request.source);
    return;
  }
  prepare_calibration(options, request);
  prepare_measurement(options, request);
  const QuantizeResult result = quantize_model(request, std::move(plan));
  if (result.calibration && !result.calibration->warning().empty())
    say_error("assay: warning: {}\n", result.calibration->warning());
  if (options.json)
    say_json(result.manifest);
  else
    print_result(options, result, *request.source);
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto* command = app.add_subcommand("quantize", "Quantise a model by a recipe, and measure what it cost");
  auto options = std::make_shared<QuantizeOptions>();
  command->add_option("MODEL", options->model, "Model: a folder of any container, or a GGUF file")
      ->required();
  command
      ->add_option("OUT", options->out,
                   "Folder, or file of a container that is one (OUT.gguf); must not exist")
      ->required();
  command->add_option("--recipe", options->recipe, "Built-in recipe (`assay recipes`) or a .json file");
  add_budget_options(command, &options->budget);
  command->add_option("--embed", options->embed, "Format for embedding and head, over the recipe");
  command->add_option("--container", options->container, offered_containers())
      ->check(CLI::IsMember(offered_container_list()))
      ->capture_default_str();
  command
      ->add_option(
          "--method", options->method,
          "How codes are chosen where the recipe does not say: rtn (the format's own rule), search (best "
          "scales) or gptq (error feedback on calibration text)")
      ->check(CLI::IsMember({"rtn", "search", "gptq"}));
  command->add_option(
      "--calib", options->calibration,
      "Text to calibrate on: a file, or self (sampled from the model). Never the text you measure on");
  add_number(command, "--calib-tokens", &options->calibration_tokens,
             "Tokens of that text; 0 rounds to nearest", std::size_t{0}, kMostTokens)
      ->capture_default_str();
  add_size(command, "--calib-memory", &options->calibration_memory,
           "Bytes of activations (2GiB, 500MB) kept in memory; the rest goes to files beside OUT "
           "(default: half of what is free)");
  command
      ->add_option("--rotate", options->rotation,
                   "Rotate the residual stream first (QuaRot's R1): hadamard, signs by --seed")
      ->check(CLI::IsMember({"hadamard"}));
  add_number(command, "--rotate-seed", &options->rotation_seed, "Signs of the rotation", std::uint64_t{0},
             kMostSeeds)
      ->capture_default_str();
  add_number(command, "--damping", &options->rounding.damping,
             "Damping of the Hessian, in parts of its mean diagonal", 0.0, 1.0)
      ->capture_default_str();
  add_number(command, "--refine", &options->rounding.refinements,
             "Rounds of refitting scales and moving single codes after error feedback", 0, 100)
      ->capture_default_str();
  command
      ->add_option("--measure", options->measure,
                   "Text to measure the loss on: a file, self (sampled from the model), or none")
      ->capture_default_str();
  add_number(command, "--measure-tokens", &options->measure_tokens, "Tokens of that text", std::size_t{2048},
             kMostTokens)
      ->capture_default_str();
  add_number(command, "--seed", &options->seed, "Seed of self-sampled text and of the calibration windows",
             std::uint64_t{0}, kMostSeeds)
      ->capture_default_str();
  command->add_flag("--dry-run", options->dry_run, "Print the plan and its size, write nothing");
  command->add_option("--config-dir", options->config_directory,
                      "Where config and tokenizer lie, for old lattice folders");
  add_common(command, options.get(),
             "  assay quantize Qwen3-0.6B Qwen3-0.6B-q4 --recipe q4\n"
             "  assay quantize model.gguf out --recipe mlx4 --embed q8_0 --measure wiki.test.raw\n"
             "  assay quantize model out --recipe w3-mlp --container lattice\n"
             "  assay quantize model out --recipe w3 --method gptq --calib train.txt --calib-tokens 131072\n"
             "  assay quantize model out --target-bpw 3.5 --method gptq --calib train.txt\n"
             "  assay quantize model out --recipe my-recipe.json --dry-run");
  command->callback([options] { run_quantize(*options); });
}

}  // namespace assay::app
