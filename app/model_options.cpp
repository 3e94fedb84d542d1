#include "app/model_options.h"

namespace assay::app {

void add_model_options(CLI::App* command, ModelOptions* options) {
  command
      ->add_option("--residency", options->residency,
                   "Matrices in memory: decoded to f32, packed, or auto by size")
      ->check(CLI::IsMember({"auto", "decoded", "packed"}))
      ->capture_default_str();
  command->add_option("--config-dir", options->config_directory,
                      "Where config and tokenizer lie, for old lattice folders");
}

LoadedModel load(const ModelOptions& options, const std::string& path) {
  LoadOptions load_options;
  load_options.linear.residency = options.residency == "packed"    ? Residency::packed
                                  : options.residency == "decoded" ? Residency::decoded
                                                                   : Residency::automatic;
  return load_model(path, load_options, options.config_directory);
}

}  // namespace assay::app
