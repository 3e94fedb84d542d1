#pragma once
// A router's softmax over all experts, of which a token visits the most probable few, weighted; Qwen3-Next
// and Qwen3.5 add a shared expert behind a gate of its own: docs/formats.md, "Mixture of experts".
#include <functional>
#include <memory>
#include <vector>

#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/experts.h"
#include "assay/model/mlp.h"
#include "assay/model/weights.h"

namespace assay {

/// One expert that a token visits, and how much it counts.
struct Visit {
  std::uint32_t expert;
  float weight;
};

/// The active experts of one token by falling probability (of equals the first), from the router's logits,
/// which become probabilities. Weights sum to one where the config normalises them. Where another number than
/// the trained one is active, they sum to what the trained number's would have.
std::vector<Visit> choose_experts(std::span<float> logits, const MixtureConfig& config);

/// Sees the choice of each token of a pass in turn: probabilities of all experts, and who is visited.
using RoutingWatcher =
    std::function<void(int layer, std::span<const float> probabilities, std::span<const Visit> visits)>;

struct MixtureOptions {
  ExpertSource* source = nullptr;  // null: experts are part of the model in memory
  RoutingWatcher watcher = {};     // empty: nobody
};

class MixtureOfExperts final : public FeedForward {
 public:
  /// Takes the tensors of `module` ("model.layers.0.mlp"): experts each for itself, fused, or stacked.
  MixtureOfExperts(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer,
                   const MixtureOptions& options);

  void forward(std::size_t tokens, std::span<const float> x, std::span<float> out) const override;
  double flops_per_token() const override;

 private:
  /// One token's visit to an expert, and where its result goes among those of all visits.
  struct Route {
    std::size_t token;
    float weight;
    std::size_t slot;
  };
  std::vector<std::vector<Route>> route(std::size_t tokens, std::span<const float> x) const;
  void add_shared(std::size_t tokens, std::span<const float> x, std::span<float> out) const;

  std::size_t hidden_;
  MixtureConfig config_;
  int layer_;
  RoutingWatcher watcher_;
  Projection router_;
  std::unique_ptr<Experts> experts_;
  std::unique_ptr<DenseMlp> shared_;  // null: none
  Projection shared_gate_;
};

}  // namespace assay
