#pragma once
// A recipe made to a budget: measured sensitivities and a target in, one rule a matrix out.
#include <cstdint>
#include <string>

#include "assay/allocation/sensitivity.h"
#include "assay/recipes/recipe.h"
#include "assay/storage/checkpoint.h"

namespace assay {

struct BudgetTarget {
  double bits = 0;          // a weight of the matrices inside the blocks; 0: see `bytes`
  std::uint64_t bytes = 0;  // of all tensors together
  std::string embed;        // format of embedding and head; "": as they are
};

struct AllocatedRecipe {
  Recipe recipe;
  double bits = 0;              // a weight of the matrices inside the blocks, as allocated
  double predicted_damage = 0;  // nats a token, added up: to first order what measuring the whole will show
  struct Use {
    std::string format;
    std::size_t matrices = 0;
    std::uint64_t weights = 0;
  };
  std::vector<Use> uses;   // by format name
  std::size_t unseen = 0;  // matrices whose damage is a guess: no token of the text came by
};

/// Throws Error: no target or two, one that the smallest formats exceed.
AllocatedRecipe allocate_recipe(const CheckpointPtr& checkpoint, const Sensitivities& sensitivities,
                                const BudgetTarget& target, ProgressSink* progress = nullptr);

/// "khw3  12 matrices  31.2 % of the weights" and the bits and predicted divergence, as lines for a user.
std::vector<std::string> describe(const AllocatedRecipe& allocated);

}  // namespace assay
