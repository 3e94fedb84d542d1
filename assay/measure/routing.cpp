#include "assay/measure/routing.h"

#include <algorithm>
#include <numeric>

#include "assay/base/error.h"
#include "assay/kernels/observed_ops.h"

namespace assay {
std::vector<bool> RoutingCounts::hottest(int layer, double share) const {
  const std::vector<std::uint64_t>& counts = visits.at(layer);
  std::vector<std::size_t> order(counts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t e) { return counts[e]; });
  const auto all = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  std::vector<bool> hot(counts.size());
  double seen = 0;
  for (const std::size_t expert : order) {
    if (seen >= share * all) break;
    hot[expert] = true;
    seen += static_cast<double>(counts[expert]);
  }
  return hot;
}

OrderedJson RoutingCounts::to_json() const {
  OrderedJson layers = OrderedJson::object();
  for (const auto& [layer, counts] : visits) layers[std::to_string(layer)] = counts;
  return {{"schema", 1}, {"tokens", tokens}, {"visits", std::move(layers)}};
}

RoutingCounts count_visits(const CheckpointPtr& checkpoint, std::span<const TokenId> tokens,
                           const Context& context, std::size_t window) {
  const ThreadScope threads(context.threads);
  RoutingCounts counts;
  counts.tokens = tokens.size();
  const auto experts = static_cast<std::size_t>(model_config_of(*checkpoint).mixture.experts);
  if (experts == 0) fail("{}: a dense model has no experts to visit", checkpoint->path);
  const auto count = [&](int layer, std::span<const float>, std::span<const Visit> visits) {
    std::vector<std::uint64_t>& layer_visits = counts.visits[layer];
    layer_visits.resize(experts);
    for (const Visit& visit : visits) ++layer_visits[visit.expert];
  };
  const auto ops = observed_ops(*context.ops, {.route = count});
  LoadOptions options;
  options.linear.residency = Residency::automatic;
  options.context.ops = ops.get();
  const auto model = Model::load(checkpoint, options);
  Progress progress(context.progress, "count visits", tokens.size(), "tokens");
  Workspace workspace(context.activations());
  for (std::size_t first = 0; first < tokens.size(); first += window) {
    const auto state = make_sequence_state(*model);
    const Chunk chunk{state.get(), tokens.subspan(first, std::min(window, tokens.size() - first))};
    const Workspace::Scope scope(workspace);
    model->forward({&chunk, 1}, workspace);
    progress.advance(chunk.tokens.size());
  }
  return counts;
}

}  // namespace assay
