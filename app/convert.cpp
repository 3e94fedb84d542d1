#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "app/say.h"
#include "assay/model/completeness.h"
#include "assay/quantize/quantize_model.h"

namespace assay::app {

void add_convert(CLI::App& app) {
  auto* command = app.add_subcommand("convert", "Change a model's container without changing a weight");
  struct Options : Common {
    std::string in, out, container, config_directory;
    bool unknown = false;
  };
  auto options = std::make_shared<Options>();
  command->add_option("IN", options->in, "Model: a folder or a GGUF file")->required();
  command
      ->add_option("OUT", options->out,
                   "Folder, or file of a container that is one (OUT.gguf); must not exist")
      ->required();
  command->add_option("--container", options->container, offered_containers())
      ->required()
      ->check(CLI::IsMember(offered_container_list()));
  command->add_option("--config-dir", options->config_directory,
                      "Where config and tokenizer lie, for old lattice folders");
  command->add_flag("--unknown", options->unknown, "Convert a model that Assay cannot run, too");
  add_common(command, options.get(),
             "  assay convert my-model-q4 my-model-lattice --container lattice\n"
             "  assay convert model.gguf my-model --container assay\n"
             "  assay convert my-model my-model.gguf --container gguf\n"
             "A tensor that has no lossless form in the container is refused by name.");
  command->callback([options] {
    const CheckpointPtr source = open_model(options->in, options->config_directory);
    require_runnable(*source, options->unknown);
    const Plan plan =
        convert_model(source, parse_writable_container(options->container), options->out, options->context);
    const SizeSummary size = planned_size(plan);
    if (options->json) {
      const OrderedJson result = {{"out", options->out},
                                  {"tensors", plan.tensors.size()},
                                  {"bytes", size.file_bytes},
                                  {"transcoded", plan.notes}};
      say_json(result);
      return;
    }
    for (const std::string& note : plan.notes) say("{}\n", note);
    say("{}: {} tensors, {} bytes, every weight unchanged\n", options->out, plan.tensors.size(),
        size.file_bytes);
  });
}

}  // namespace assay::app
