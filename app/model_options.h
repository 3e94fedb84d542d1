#pragma once
// How commands that run a model open it: --residency and --config-dir, the same everywhere.
#include <string>

#include "app/command.h"
#include "assay/runtime/session.h"

namespace assay::app {

struct ModelOptions {
  std::string residency = "auto";
  std::string config_directory;
};

void add_model_options(CLI::App* command, ModelOptions* options);
LoadedModel load(const ModelOptions& options, const std::string& path);

}  // namespace assay::app
