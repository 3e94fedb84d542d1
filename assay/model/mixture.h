#pragma once
// A router's softmax over all experts, of which a token visits the most probable few, weighted; Qwen3-Next
// and Qwen3.5 add a shared expert behind a gate of its own: docs/formats.md, "Mixture of experts".
#include <memory>
#include <vector>

#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/experts.h"
#include "assay/model/mlp.h"
#include "assay/model/weights.h"

namespace assay {

class MixtureOfExperts final : public FeedForward {
 public:
  /// Takes the tensors of `module` ("model.layers.0.mlp"): experts each for itself, fused, or stacked.
  /// `source`: who fetches experts; null: they are part of the model in memory.
  MixtureOfExperts(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer,
                   ExpertSource* source);

  void forward(const Rows& x, const Rows& out, Workspace& workspace) const override;
  double flops_per_token() const override;

 private:
  void add_shared(const Rows& x, const Rows& out, Workspace& workspace) const;

  const Ops& ops_;
  std::size_t hidden_;
  MixtureConfig config_;
  int layer_;
  Projection router_;
  std::unique_ptr<Experts> experts_;
  std::unique_ptr<DenseMlp> shared_;  // null: none
  Projection shared_gate_;
};

}  // namespace assay
