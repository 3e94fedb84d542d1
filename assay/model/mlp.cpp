#include "assay/model/mlp.h"

#include <utility>

namespace assay {

DenseMlp::DenseMlp(const ModelConfig& config, WeightLoader& loader, const std::string& module)
    : ops_(&loader.ops()) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden),
             inner = static_cast<std::uint64_t>(config.intermediate);
  gate_ = loader.projection(module + ".gate_proj", inner, hidden, config.mlp_bias);
  up_ = loader.projection(module + ".up_proj", inner, hidden, config.mlp_bias);
  down_ = loader.projection(module + ".down_proj", hidden, inner, config.mlp_bias);
}

DenseMlp::DenseMlp(const Ops& ops, Projection gate, Projection up, Projection down)
    : ops_(&ops), gate_(std::move(gate)), up_(std::move(up)), down_(std::move(down)) {}

double DenseMlp::flops_per_token() const {
  return gate_.flops_per_token() + up_.flops_per_token() + down_.flops_per_token();
}

void DenseMlp::forward(const Rows& x, const Rows& out, Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  const Rows gate = workspace.take(ops_->element(), x.count(), gate_.weight->rows());
  {
    const Workspace::Scope inputs(workspace);  // with many tokens these are the largest activations of all
    const Rows up = workspace.take(ops_->element(), x.count(), gate_.weight->rows());
    project(*ops_, {&gate_, &up_}, x, {gate, up});
    ops_->silu_multiply(gate, up);
  }
  project(*ops_, {&down_}, gate, {out});
}

}  // namespace assay
