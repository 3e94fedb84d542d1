#pragma once
// How commands that run a model open it: --residency, --config-dir, and where its experts are, the same
// everywhere.
#include <string>

#include "app/command.h"
#include "assay/runtime/session.h"

namespace assay::app {

struct ModelOptions {
  std::string residency = "auto";
  std::string config_directory;
  ExpertStoreOptions experts;  // budget 0: in memory
  int active_experts = 0;      // 0: as the model says
  bool timing = false;
};

void add_model_options(CLI::App* command, ModelOptions* options);
/// Says on standard error when the model runs with another number of experts than its own.
LoadedModel load(const ModelOptions& options, const std::string& path);

/// With --timing: what each layer's experts took, as a table on standard error.
void print_timing(const ModelOptions& options, const LoadedModel& model);
/// The same for --json: null without --timing.
OrderedJson timing_json(const ModelOptions& options, const LoadedModel& model);

}  // namespace assay::app
