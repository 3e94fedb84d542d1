#include "assay/model/mlp.h"

#include <utility>

#include "assay/base/float_buffer.h"
#include "assay/kernels/elementwise.h"

namespace assay {

DenseMlp::DenseMlp(const ModelConfig& config, WeightLoader& loader, const std::string& module)
    : intermediate_(static_cast<std::size_t>(config.intermediate)) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  gate_ = loader.projection(module + ".gate_proj", intermediate_, hidden, config.mlp_bias);
  up_ = loader.projection(module + ".up_proj", intermediate_, hidden, config.mlp_bias);
  down_ = loader.projection(module + ".down_proj", hidden, intermediate_, config.mlp_bias);
}

DenseMlp::DenseMlp(Projection gate, Projection up, Projection down)
    : intermediate_(gate.weight->rows()),
      gate_(std::move(gate)),
      up_(std::move(up)),
      down_(std::move(down)) {}

double DenseMlp::flops_per_token() const {
  return gate_.flops_per_token() + up_.flops_per_token() + down_.flops_per_token();
}

void DenseMlp::forward(std::size_t tokens, std::span<const float> x, std::span<float> out) const {
  FloatBuffer gate(tokens * intermediate_), up(tokens * intermediate_);
  gate_.forward(x, tokens, gate);
  up_.forward(x, tokens, up);
  silu_multiply(gate, up);
  up.release();  // with many tokens these are the largest activations of all
  down_.forward(gate, tokens, out);
}

}  // namespace assay
