#include <memory>

#include "app/command.h"
#include "app/say.h"
#include "assay/model/completeness.h"
#include "assay/quantize/quantize_model.h"

namespace assay::app {

void add_pack_experts(CLI::App& app) {
  auto* command = app.add_subcommand(
      "pack-experts", "Write a mixture of experts so that each expert is read from disk at once");
  struct Options : Common {
    std::string model, out;
  };
  auto options = std::make_shared<Options>();
  command->add_option("MODEL", options->model, "A mixture of experts, any container")->required();
  command->add_option("OUT", options->out, "Folder to write; must not exist. MODEL is not needed afterwards")
      ->required();
  add_common(command, options.get(),
             "  assay pack-experts my-moe-q4 my-moe-packed\n"
             "  assay run my-moe-packed --prompt 'Once' --expert-cache 2GiB\n"
             "Every weight stays as it is; each expert lies in one piece and has a checksum. --expert-cache "
             "reads the\n"
             "experts of any other container too, from where they are: packing saves reads.");
  command->callback([options] {
    const CheckpointPtr source = open_model(options->model);
    require_runnable(*source, false);
    const Plan plan = pack_experts(source, options->out, options->context);
    const SizeSummary size = planned_size(plan);
    if (options->json)
      say_json(OrderedJson{{"out", options->out},
                           {"tensors", plan.tensors.size()},
                           {"bytes", size.file_bytes},
                           {"transcoded", plan.notes}});
    else
      say("{}: {} tensors, {} bytes, every weight unchanged\n", options->out, plan.tensors.size(),
          size.file_bytes);
  });
}

}  // namespace assay::app
