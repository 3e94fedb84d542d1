#pragma once
// How commands that share a budget of bits out are told about it: allocate and quantize.
#include "app/command.h"
#include "assay/allocation/allocated_recipe.h"
#include "assay/runtime/session.h"

namespace assay::app {

struct BudgetOptions {
  BudgetTarget target;
  std::vector<std::string> formats = {"mlx2-g64", "mlx3-g64", "khw3", "mlx4-g64", "khq4", "mlx6-g64"};
  std::string sensitivities, save;  // files
  std::size_t tokens = 8192;        // of the calibration text, to weigh the formats on
  bool plain = false;
  bool any_text = false;         // of the calibration text, and of what is measured on
  bool formats_given = false;    // on the command line
  std::string config_directory;  // of the model

  bool given() const { return target.bits > 0 || target.bytes > 0; }
};

void add_budget_options(CLI::App* command, BudgetOptions* options);

/// Reads or measures the sensitivities and shares the budget out.
AllocatedRecipe find_recipe(const BudgetOptions& options, const std::string& model, const std::string& text,
                            std::uint64_t seed, const Context& context);

}  // namespace assay::app
