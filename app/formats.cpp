#include <fmt/core.h>

#include <memory>

#include "app/command.h"
#include "assay/base/json.h"
#include "assay/formats/table.h"

namespace assay::app {

void add_formats(CLI::App& app) {
  auto* command = app.add_subcommand("formats", "List the weight formats");
  auto common = std::make_shared<Common>();
  add_common(command, common.get(), "  assay formats\n  assay formats --json");
  command->callback([common] {
    for (const FormatPtr& format : all_formats()) fmt::print("{:<20} {}\n", format->name(), format->summary());
  });
}

}  // namespace assay::app
