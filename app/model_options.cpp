#include "app/model_options.h"
#include "app/numbers.h"
#include "app/say.h"

#include "assay/base/clock.h"
#include "assay/base/error.h"
#include "assay/kernels/blas_core.h"
#include "assay/kernels/table.h"

namespace assay::app {
namespace {

constexpr double kMegabyte = 1e6, kMilliseconds = 1e3;

double share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

void say_active_experts(const LoadedModel& model) {
  const MixtureConfig& mixture = model.model->config().mixture;
  if (mixture.active == mixture.trained_active) return;
  say_error(
      "{}: a token visits {} experts, {} in training: weights are renormalised over those, and this is not "
      "the model that was trained\n",
      model.checkpoint->path, mixture.active, mixture.trained_active);
}

std::string kernel_names() {
  std::string names;
  for (const LinearKernel& kernel : linear_kernels())
    names += (names.empty() ? "" : ", ") + std::string(kernel.name);
  return names;
}

}  // namespace

void add_model_options(CLI::App* command, ModelOptions* options) {
  auto* residency =
      command->add_option("--residency", options->residency,
                          "Matrices in memory: packed, decoded to f32, stored (read where they lie in "
                          "the file), or auto: packed where a kernel multiplies packed weights");
  residency->check(CLI::IsMember({"auto", "decoded", "packed", "stored"}))->capture_default_str();
  auto* kernel = command->add_option("--kernel", options->kernel,
                                     "The kernel that multiplies by every matrix: " + kernel_names());
  kernel->excludes(residency);
  command
      ->add_option(
          "--activations", options->activations,
          "What one to four tokens at a time meet packed weights as: f32, int16 (steps of 2^-15 of the "
          "largest of 32 neighbours), int8 (of 2^-7; int16 for codes of more than 5 bits), or auto: int8 "
          "for codes of at most 4 bits, else int16")
      ->check(CLI::IsMember(activation_names()))
      ->capture_default_str();
  command->add_option(
      "--isa", options->isa,
      "The highest instruction set to use: baseline, avx2, avx512, neon (default: this machine's)");
  command->add_option("--config-dir", options->config_directory,
                      "Where config and tokenizer lie, for old lattice folders");
  auto* cache = add_size(command, "--expert-cache", &options->experts.budget,
                         "Leave experts on disk and keep this much of them in memory (2GiB, 500MB)");
  kernel->excludes(cache);
  command
      ->add_flag("--direct-io", options->experts.direct,
                 "Read experts past the system's page cache (O_DIRECT)")
      ->needs(cache);
  add_number(command, "--active-experts", &options->active_experts,
             "Experts that a token visits, in place of the model's own number", 1, 1 << 20);
  command->add_flag(
      "--timing", options->timing,
      "Seconds of loading, prefill and decoding; with --expert-cache for each layer also experts "
      "visited, found in memory, read, waited for");
}

std::vector<std::string> activation_names() {
  return {"auto", "f32", "int16", "int8"};
}

LoadedModel load(const ModelOptions& options, const std::string& path, const Context& context) {
  const auto start = Clock::now();
  if (!options.isa.empty()) {
    const Isa isa = parse_isa(options.isa);
    limit_isa(isa);
    if (const auto core = better_blas_core(isa))  // the environment had the last word
      fail("--isa {}: OpenBLAS runs {} kernels, {} expected: unset OPENBLAS_CORETYPE", options.isa,
           blas_core(), *core);
  }
  LoadOptions load_options;
  load_options.linear.kernel = options.kernel;
  load_options.linear.activations = options.activations == "int16"  ? Activations::int16
                                    : options.activations == "int8" ? Activations::int8
                                    : options.activations == "auto" ? Activations::automatic
                                                                    : Activations::f32;
  load_options.linear.residency = options.residency == "packed"    ? Residency::packed
                                  : options.residency == "decoded" ? Residency::decoded
                                  : options.residency == "stored"  ? Residency::stored
                                                                   : Residency::automatic;
  load_options.active_experts = options.active_experts;
  std::shared_ptr<ExpertStore> store;
  if (options.experts.budget > 0) store = std::make_shared<ExpertStore>(options.experts);
  load_options.experts = store;
  load_options.context = context;
  LoadedModel model = load_model(path, load_options, options.config_directory);
  model.experts = store;
  options.load_seconds += seconds_since(start);
  say_active_experts(model);
  return model;
}

void print_timing(const ModelOptions& options, const LoadedModel& model, const std::vector<Phase>& phases) {
  if (!options.timing) return;
  say_error("timing: load {:.3f} s", options.load_seconds);
  for (const Phase& phase : phases) say_error(", {} {:.3f} s", phase.name, phase.seconds);
  say_error("\n");
  if (!model.experts) return;
  if (const std::size_t unchecked = model.experts->unchecked())
    say_error("{} of {} expert matrices have no checksum: a damaged code in them is not noticed\n", unchecked,
              model.experts->matrices());
  say_error("experts read by {}{}\n{:>5}  {:>7}  {:>6}  {:>9}  {:>9}  {:>9}  {:>10}\n",
            model.experts->reader(), options.experts.direct ? ", past the page cache" : "", "layer", "visits",
            "hits %", "read MB", "wait ms", "comp. ms", "expert MB");
  for (const auto& [layer, took] : model.experts->statistics()) {
    const ExpertStore::RecordSizes sizes = model.experts->record_sizes(layer);
    say_error("{:>5}  {:>7}  {:>6.1f}  {:>9.1f}  {:>9.1f}  {:>9.1f}  {:>4.2f}..{:<4.2f}\n", layer,
              took.visits, share(took.hits, took.visits), static_cast<double>(took.bytes_read) / kMegabyte,
              took.wait_seconds * kMilliseconds, took.compute_seconds * kMilliseconds,
              static_cast<double>(sizes.smallest) / kMegabyte,
              static_cast<double>(sizes.largest) / kMegabyte);
  }
}

OrderedJson timing_json(const ModelOptions& options, const std::vector<Phase>& phases) {
  OrderedJson json = {{"load_seconds", options.load_seconds}};
  for (const Phase& phase : phases) json[std::string(phase.name) + "_seconds"] = phase.seconds;
  return json;
}

OrderedJson expert_timing_json(const ModelOptions& options, const LoadedModel& model) {
  if (!options.timing || !model.experts) return nullptr;
  OrderedJson layers = OrderedJson::array();
  for (const auto& [layer, took] : model.experts->statistics()) {
    const ExpertStore::RecordSizes sizes = model.experts->record_sizes(layer);
    layers.push_back({{"layer", layer},
                      {"passes", took.passes},
                      {"visits", took.visits},
                      {"hits", took.hits},
                      {"bytes_read", took.bytes_read},
                      {"wait_seconds", took.wait_seconds},
                      {"compute_seconds", took.compute_seconds},
                      {"expert_bytes", {sizes.smallest, sizes.largest}},
                      {"layer_bytes", sizes.total}});
  }
  return {{"reader", model.experts->reader()},     {"direct", options.experts.direct},
          {"matrices", model.experts->matrices()}, {"matrices_without_checksum", model.experts->unchecked()},
          {"dropped", model.experts->dropped()},   {"layers", std::move(layers)}};
}

}  // namespace assay::app
