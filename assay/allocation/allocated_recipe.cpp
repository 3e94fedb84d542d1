#include "assay/allocation/allocated_recipe.h"

#include <algorithm>
#include <map>
#include <set>

#include "assay/base/error.h"
#include "assay/recipes/plan.h"

namespace assay {
namespace {

/// Bytes of the matrices inside the blocks that stay as they are (routers).
std::uint64_t kept_bytes(const Checkpoint& checkpoint, const Sensitivities& sensitivities) {
  std::set<std::string> shared;
  for (const TensorSensitivity& tensor : sensitivities.tensors) shared.insert(tensor.tensor);
  std::uint64_t bytes = 0;
  for (const Tensor& tensor : checkpoint.tensors)
    if (is_block_matrix(require_role(tensor.name, checkpoint.path)) && !shared.contains(tensor.name))
      bytes += tensor.stored_bytes();
  return bytes;
}

/// Bytes for the matrices inside the blocks.
std::uint64_t linear_budget(const CheckpointPtr& checkpoint, const BudgetTarget& target) {
  if ((target.bits > 0) == (target.bytes > 0))
    fail("one target is needed: bits a weight (--target-bpw) or bytes in all (--target-size)");
  if (target.bytes == 0)
    return static_cast<std::uint64_t>(target.bits *
                                      static_cast<double>(stored_size(*checkpoint).linear_weights) / 8);
  // What is not inside the blocks weighs the same whatever is allocated.
  PlanOptions plan;
  plan.embed = target.embed;
  plan.size_only = true;
  const SizeSummary size = planned_size(make_plan(checkpoint, Recipe{"others", "", {}, false}, plan));
  const std::uint64_t others = size.file_bytes - size.linear_bytes;
  if (others >= target.bytes)
    fail("--target-size {}: what is not inside the blocks alone takes {} bytes; --embed makes it smaller",
         target.bytes, others);
  return target.bytes - others;
}

Rule rule_for(std::string format) {
  Rule rule;
  rule.format = std::move(format);
  return rule;
}

}  // namespace

AllocatedRecipe allocate_recipe(const CheckpointPtr& checkpoint, const Sensitivities& sensitivities,
                                const BudgetTarget& target, ProgressSink* progress) {
  require_sensitivities_of(*checkpoint, sensitivities, progress);
  const std::uint64_t budget = linear_budget(checkpoint, target);
  std::vector<std::vector<Choice>> items;
  for (const TensorSensitivity& tensor : sensitivities.tensors) {
    items.push_back(tensor.choices);
    make_monotone(items.back());
  }
  const std::uint64_t kept = kept_bytes(*checkpoint, sensitivities);
  const std::vector<std::size_t> chosen = allocate(items, budget - std::min(budget, kept));

  AllocatedRecipe allocated;
  Recipe& recipe = allocated.recipe;
  recipe.name = target.bytes > 0 ? fmt::format("allocated-{}-bytes", target.bytes)
                                 : fmt::format("allocated-{:g}-bits", target.bits);
  std::map<std::string, AllocatedRecipe::Use> uses;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const TensorSensitivity& tensor = sensitivities.tensors[i];
    Rule& rule = recipe.rules.emplace_back(rule_for(tensor.formats[chosen[i]]));
    rule.names = {tensor.tensor};
    allocated.predicted_damage += items[i][chosen[i]].damage;
    AllocatedRecipe::Use& use = uses[rule.format];
    use.format = rule.format;
    ++use.matrices;
    use.weights += tensor.weights;
    allocated.unseen += tensor.unseen;
  }
  if (!target.embed.empty()) recipe.rules.emplace_back(rule_for(target.embed)).roles = {"ends"};
  for (auto& [format, use] : uses) allocated.uses.push_back(std::move(use));
  recipe.texts = sensitivities.made_from.texts;
  // Of the recipe as it stands, applied to this model, not of what was added up on the way.
  PlanOptions as_recipe;
  as_recipe.size_only = true;
  const SizeSummary size = planned_size(make_plan(checkpoint, recipe, as_recipe));
  if (size.linear_bytes > budget || (target.bytes > 0 && size.file_bytes > target.bytes))
    fail("{}: recipe {}: takes {} bytes for the matrices inside the blocks, {} were to be shared out",
         checkpoint->path, recipe.name, size.linear_bytes, budget);
  allocated.bits = size.linear_bits();
  recipe.description = fmt::format("{:.3f} bits per linear weight, predicted KL divergence {:.4f} nats",
                                   allocated.bits, allocated.predicted_damage);
  return allocated;
}

std::vector<std::string> describe(const AllocatedRecipe& allocated) {
  std::uint64_t weights = 0;
  for (const auto& use : allocated.uses) weights += use.weights;
  std::vector<std::string> lines;
  for (const auto& use : allocated.uses)
    lines.push_back(fmt::format("{:<12} {:>4} matrices {:>5.1f} % of the weights", use.format, use.matrices,
                                100.0 * static_cast<double>(use.weights) / static_cast<double>(weights)));
  if (allocated.unseen > 0)
    lines.push_back(
        fmt::format("{} matrices of experts that no token of the text visits: weighed by their weights alone",
                    allocated.unseen));
  lines.push_back(allocated.recipe.description);
  return lines;
}

}  // namespace assay
