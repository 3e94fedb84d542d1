#include "assay/measure/routing.h"

#include <algorithm>
#include <numeric>

#include "assay/base/error.h"
#include "assay/base/progress.h"
#include "assay/model/mixture.h"
#include "assay/model/roles.h"

namespace assay {
namespace {

/// A router that counts whom it chooses.
class CountingRouter final : public Linear {
 public:
  CountingRouter(std::unique_ptr<Linear> linear, std::size_t active, std::vector<std::uint64_t>& visits)
      : linear_(std::move(linear)), active_(active), visits_(visits) {
    visits_.resize(linear_->rows());
  }
  void forward(std::span<const float> x, std::size_t tokens, std::span<float> y) const override {
    linear_->forward(x, tokens, y);
    std::vector<float> logits(y.begin(), y.end());
    for (std::size_t token = 0; token < tokens; ++token)
      for (const Visit& visit :
           choose_experts(std::span(logits).subspan(token * visits_.size(), visits_.size()), active_, false))
        ++visits_[visit.expert];
  }
  std::uint64_t rows() const override { return linear_->rows(); }
  std::uint64_t columns() const override { return linear_->columns(); }
  void row(std::uint64_t index, std::span<float> out) const override { linear_->row(index, out); }
  std::string kernel() const override { return linear_->kernel(); }

 private:
  std::unique_ptr<Linear> linear_;
  std::size_t active_;
  std::vector<std::uint64_t>& visits_;
};

}  // namespace

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
                           std::size_t window) {
  RoutingCounts counts;
  counts.tokens = tokens.size();
  const auto active = static_cast<std::size_t>(model_config_of(*checkpoint).mixture.active);
  if (active == 0) fail("{}: a dense model has no experts to visit", checkpoint->path);
  LoadOptions options;
  const LinearOptions held = {resolve_residency(Residency::automatic, *checkpoint)};
  options.factory = [&](const MatrixPlace& place,
                        std::shared_ptr<const RowSource> rows) -> std::shared_ptr<const Linear> {
    std::unique_ptr<Linear> linear = make_linear(rows, held);
    if (classify_tensor(place.tensor) != Role::router) return linear;
    return std::make_shared<CountingRouter>(std::move(linear), active, counts.visits[layer_of(place.tensor)]);
  };
  const auto model = Model::load(checkpoint, options);
  Progress progress("count visits", tokens.size(), "tokens");
  std::vector<float> hidden;
  for (std::size_t first = 0; first < tokens.size(); first += window) {
    const auto state = make_sequence_state(model->config());
    const Chunk chunk{state.get(), tokens.subspan(first, std::min(window, tokens.size() - first))};
    model->forward({&chunk, 1}, hidden);
    progress.advance(chunk.tokens.size());
  }
  return counts;
}

}  // namespace assay
