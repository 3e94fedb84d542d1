#include <algorithm>
#include <filesystem>
#include <memory>

#include "app/command.h"
#include "app/say.h"
#include "assay/audit/audit.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/model/completeness.h"
#include "assay/model/roles.h"
#include "assay/recipes/mlx_conventions.h"
#include "assay/storage/containers.h"

namespace assay::app {
namespace {

constexpr int kWrong = 3;

struct AuditOptions : Common {
  std::string model, against, html, config_directory;
};

/// A checkpoint that cannot be opened is a finding like any other.
CheckpointPtr open_or_find(const std::string& path, const AuditOptions& options, AuditReport& report) {
  try {
    return open_as_it_lies(path, options.config_directory);
  } catch (const Error& problem) {
    std::error_code unknown;
    if (!std::filesystem::exists(path, unknown)) throw;  // a wrong path says nothing of a model
    report.model = path;
    report.of_checkpoint.push_back({"unreadable", problem.what(), 1e9});
    return nullptr;
  }
}

bool has_experts(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.tensors, [](const Tensor& tensor) {
    const std::optional<Role> role = classify_tensor(tensor.name);
    return role && is_expert_matrix(*role);
  });
}

void run_audit(const AuditOptions& options) {
  CheckpointPtr original;
  if (!options.against.empty()) original = open_model(options.against);
  AuditReport report;
  if (const CheckpointPtr model = open_or_find(options.model, options, report)) {
    // An MLX folder is held against its original under the names and shapes of mlx-lm.
    if (original && model->container->mlx_conventions)
      original = with_mlx_conventions(original, true).checkpoint;
    report = audit_checkpoint(*model, original.get(), options.context);
    if (original && has_experts(*model)) add_router_agreement(report, model, original, options.context);
  }
  if (!options.html.empty()) write_file_atomically(options.html, audit_html(report));
  if (options.json)
    say_json(report.to_json());
  else
    say_raw(printable_lines(audit_text(report)));
  if (!report.sound()) exit_code() = kWrong;
}

}  // namespace

void add_audit(CLI::App& app) {
  auto* command =
      app.add_subcommand("audit", "Does a model hold what it says? (exit 3 when something is wrong)");
  auto options = std::make_shared<AuditOptions>();
  command->add_option("MODEL", options->model, "A folder of any container, or a GGUF file")->required();
  command->add_option("--against", options->against, "The original it was made from");
  command->add_option("--html", options->html, "Write a page with a heat map of all tensors");
  command->add_option("--config-dir", options->config_directory,
                      "Where config and tokenizer lie, for old lattice folders");
  add_common(command, options.get(),
             "  assay audit downloaded-mlx\n"
             "  assay audit model.Q4_K_M.gguf --against original --html audit.html\n");
  command->callback([options] { run_audit(*options); });
}

}  // namespace assay::app
