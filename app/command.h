#pragma once
// One file per command. Each registers its subcommand (flags, help with examples) and its callback; no logic
// worth testing lives here. A callback sets the exit code: 0 done, 1 error (thrown), 2 usage, 3 refused by a
// gate.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "assay/kernels/context.h"
#include "assay/storage/checkpoint.h"

namespace assay::app {

/// What every command takes, and what it works in: --threads, and a progress bar unless --json.
struct Common {
  bool json = false;
  Context context;
};

/// Adds --json and --threads, and `examples` to the help's end.
void add_common(CLI::App* command, Common* common, const std::string& examples);

/// --container's value, one of offered_containers().
Container parse_writable_container(const std::string& name);
std::vector<std::string> offered_container_list();
std::string offered_containers();  // "assay, mlx, lattice or gguf"

/// Exit code of the command that ran; main returns it.
int& exit_code();

void add_quantize(CLI::App& app);
void add_inspect(CLI::App& app);
void add_eval(CLI::App& app);
void add_compare(CLI::App& app);
void add_gate(CLI::App& app);
void add_run(CLI::App& app);
void add_parity(CLI::App& app);
void add_bench(CLI::App& app);
void add_logits(CLI::App& app);
void add_convert(CLI::App& app);
void add_formats(CLI::App& app);
void add_recipes(CLI::App& app);
void add_ablate(CLI::App& app);
void add_allocate(CLI::App& app);
void add_audit(CLI::App& app);
void add_routing(CLI::App& app);
void add_pack_experts(CLI::App& app);
void add_demo(CLI::App& app);

}  // namespace assay::app
