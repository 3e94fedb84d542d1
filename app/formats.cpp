#include <memory>

#include "app/command.h"
#include "app/say.h"
#include "assay/base/json.h"
#include "assay/formats/table.h"
#include "assay/kernels/linear.h"
#include "assay/kernels/table.h"
#include "assay/storage/containers.h"

namespace assay::app {
namespace {

/// Bits per weight of a format whose parameters are a row's depend on the row; 4,096 columns stand for all.
constexpr std::uint64_t kColumns = 4096;

std::string group_text(const Layout& layout) {
  if (!layout.has_params) return "none";
  switch (layout.share) {
    case Share::row:
      return "row";
    case Share::run_in_row:
      return layout.units_per_record > 1 ? fmt::format("{} in {}", layout.run, layout.record_run())
                                         : fmt::format("{} row", layout.run);
    case Share::block:
      return fmt::format("{}x{} block", layout.block.rows, layout.block.columns);
    case Share::run_flat:
      return fmt::format("{} flat", layout.run);
  }
  return "";
}

std::string plane_text(const Layout& layout) {
  std::string text;
  for (const Plane& plane : layout.planes)
    text += fmt::format("{}{} {} {}", text.empty() ? "" : ", ", plane.suffix, plane.record_bytes,
                        dtype_name(plane.dtype));
  return text;
}

/// Which containers can hold a matrix of this format.
std::string reader_text(const FormatPtr& format) {
  std::string text;
  for (const ContainerRow* row : all_containers())
    if (row->offered &&
        !container_misfit(Container(*row),
                          {"model.layers.0.mlp.up_proj.weight", {kColumns, kColumns}, format}))
      text += fmt::format("{}{}", text.empty() ? "" : ", ", row->name);
  return text;
}

}  // namespace

void add_formats(CLI::App& app) {
  auto* command =
      app.add_subcommand("formats", "List the weight formats: bits, groups, bytes, containers, kernels");
  auto common = std::make_shared<Common>();
  add_common(command, common.get(), "  assay formats\n  assay formats --json");
  command->callback([common] {
    OrderedJson list = OrderedJson::array();
    if (!common->json)
      say("{:<20} {:>7}  {:<9} {:<6} {:<22} {}\n", "format", "bits", "group", "write", "containers",
          "summary");
    for (const FormatPtr& format : all_formats()) {
      const Layout layout = format->layout(kColumns);
      const double bits = bits_per_weight(*format, kColumns, kColumns);
      const std::string kernel = kernel_summary({*format, kColumns, kColumns}, {});
      if (common->json)
        list.push_back({{"name", format->name()},
                        {"summary", format->summary()},
                        {"bits_per_weight", bits},
                        {"group", group_text(layout)},
                        {"planes", plane_text(layout)},
                        {"writable", format->can_encode()},
                        {"containers", reader_text(format)},
                        {"kernel", kernel}});
      else
        say("{:<20} {:>7.3f}  {:<9} {:<6} {:<22} {}\n", format->name(), bits, group_text(layout),
            format->can_encode() ? "yes" : "no", reader_text(format), format->summary());
    }
    if (common->json) say_json(list);
  });
}

}  // namespace assay::app
