#pragma once
// The dense feed-forward: down(silu(gate x) * (up x)).
#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/weights.h"

namespace assay {

class DenseMlp final : public FeedForward {
 public:
  /// Takes the tensors of `module` ("model.layers.0.mlp").
  DenseMlp(const ModelConfig& config, WeightLoader& loader, const std::string& module);
  DenseMlp(const Ops& ops, Projection gate, Projection up, Projection down);

  void forward(const Rows& x, const Rows& out, Workspace& workspace) const override;
  double flops_per_token() const override;

 private:
  const Ops* ops_;
  Projection gate_, up_, down_;
};

}  // namespace assay
