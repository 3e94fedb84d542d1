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

  void forward(const Rows& x, const Rows& out, Workspace& workspace) const override;
  double flops_per_token() const override;

 private:
  void watch(const Routing& routing, std::size_t tokens) const;
  void add_shared(const Rows& x, const Rows& out, Workspace& workspace) const;

  const Ops& ops_;
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
