#include "assay/audit/router_agreement.h"

#include <algorithm>
#include <random>
#include <vector>

#include "assay/base/error.h"
#include "assay/kernels/observed_ops.h"
#include "assay/runtime/session.h"

namespace assay {
namespace {

constexpr std::size_t kSequence = 64;

/// For each layer the experts of each token in turn.
using Choices = std::map<int, std::vector<std::vector<std::uint32_t>>>;

Choices run_routers(const CheckpointPtr& checkpoint, std::span<const TokenId> tokens,
                    const Context& context) {
  Choices choices;
  const auto keep = [&](int layer, std::span<const float>, std::span<const Visit> visits) {
    std::vector<std::uint32_t>& experts = choices[layer].emplace_back();
    for (const Visit& visit : visits) experts.push_back(visit.expert);
    std::ranges::sort(experts);
  };
  const auto ops = observed_ops(*context.ops, {.route = keep});
  LoadOptions options;
  options.linear.residency = Residency::automatic;
  options.context.ops = ops.get();
  const ModelPtr model = Model::load(checkpoint, options);
  Workspace workspace(context.activations());
  for (std::size_t first = 0; first < tokens.size(); first += kSequence) {
    const auto state = make_sequence_state(*model);
    const Chunk chunk{state.get(), tokens.subspan(first, std::min(kSequence, tokens.size() - first))};
    const Workspace::Scope scope(workspace);
    model->forward({&chunk, 1}, workspace);
  }
  return choices;
}

}  // namespace

double RouterAgreement::mean() const {
  double sum = 0;
  for (const auto& [layer, share] : layers) sum += share;
  return layers.empty() ? 1 : sum / static_cast<double>(layers.size());
}

OrderedJson RouterAgreement::to_json() const {
  OrderedJson by_layer = OrderedJson::object();
  for (const auto& [layer, share] : layers) by_layer[std::to_string(layer)] = share;
  return {{"tokens", tokens}, {"mean", mean()}, {"chance", chance}, {"layers", std::move(by_layer)}};
}

RouterAgreement compare_routing(const CheckpointPtr& model, const CheckpointPtr& original,
                                const Context& context, std::size_t tokens, std::uint64_t seed) {
  const ThreadScope threads(context.threads);
  const ModelConfig ours = model_config_of(*model), theirs = model_config_of(*original);
  const MixtureConfig& mixture = ours.mixture;
  if (mixture.experts == 0) fail("{}: a dense model has no routers", model->path);
  if (mixture.experts != theirs.mixture.experts || mixture.active != theirs.mixture.active ||
      ours.layers != theirs.layers || ours.vocabulary != theirs.vocabulary)
    fail("{}: {} layers, {} experts, {} of a token; {} has {}, {} and {}", model->path, ours.layers,
         mixture.experts, mixture.active, original->path, theirs.layers, theirs.mixture.experts,
         theirs.mixture.active);
  std::mt19937_64 random(seed);
  std::vector<TokenId> ids(tokens);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % static_cast<std::uint64_t>(ours.vocabulary));
  const Choices found = run_routers(model, ids, context), wanted = run_routers(original, ids, context);
  RouterAgreement agreement;
  agreement.tokens = tokens;
  agreement.chance = static_cast<double>(mixture.active) / mixture.experts;
  for (const auto& [layer, choices] : found) {
    std::size_t shared = 0;
    for (std::size_t t = 0; t < choices.size(); ++t) {
      std::vector<std::uint32_t> both;
      std::ranges::set_intersection(choices[t], wanted.at(layer)[t], std::back_inserter(both));
      shared += both.size();
    }
    agreement.layers[layer] = static_cast<double>(shared) /
                              static_cast<double>(choices.size() * static_cast<std::size_t>(mixture.active));
  }
  return agreement;
}

}  // namespace assay
