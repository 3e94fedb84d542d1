#pragma once
// How commands that run a model open it: --residency, --kernel, --activations, --isa, --config-dir, and where
// its experts are, the same everywhere.
#include <string>

#include "app/command.h"
#include "assay/runtime/session.h"

namespace assay::app {

struct ModelOptions {
  std::string residency = "auto", kernel, isa;
  std::string activations = "f32";
  std::string config_directory;
  ExpertStoreOptions experts;  // budget 0: in memory
  int active_experts = 0;      // 0: as the model says
  bool timing = false;
  mutable double load_seconds = 0;  // of all models loaded with these options
};

void add_model_options(CLI::App* command, ModelOptions* options);
std::vector<std::string> activation_names();  // as --activations takes them
/// Says on standard error when the model runs with another number of experts than its own.
LoadedModel load(const ModelOptions& options, const std::string& path, const Context& context);

struct Phase {
  const char* name;
  double seconds;
};
/// With --timing, on standard error: seconds of loading and of what the command did then; where experts stay
/// on disk, what each layer's took, as a table.
void print_timing(const ModelOptions& options, const LoadedModel& model,
                  const std::vector<Phase>& phases = {});
/// The seconds for --json, {"load_seconds", "NAME_seconds"...}.
OrderedJson timing_json(const ModelOptions& options, const std::vector<Phase>& phases);
/// What each layer's experts took, for --json: null without --timing, and where they are all in memory.
OrderedJson expert_timing_json(const ModelOptions& options, const LoadedModel& model);

}  // namespace assay::app
