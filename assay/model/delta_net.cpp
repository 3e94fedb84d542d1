#include "assay/model/delta_net.h"

namespace assay {

DeltaNet::DeltaNet(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer)
    : ops_(loader.ops()),
      layer_(layer),
      shape_(config.delta_shape()),
      fused_(config.delta_net.fused_projections),
      epsilon_(config.norm_epsilon) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  const auto take = [&](const char* name, std::uint64_t rows) {
    return loader.projection(module + name, rows, hidden, false);
  };
  if (fused_) {
    in_ = take(".in_proj_qkvz", shape_.channels() + shape_.values());
    gates_ = take(".in_proj_ba", 2 * shape_.value_heads);
  } else {
    qkv_ = take(".in_proj_qkv", shape_.channels());
    z_ = take(".in_proj_z", shape_.values());
    b_ = take(".in_proj_b", shape_.value_heads);
    a_ = take(".in_proj_a", shape_.value_heads);
  }
  output_ = loader.projection(module + ".out_proj", hidden, shape_.values(), false);
  take_vectors(loader, module);
}

void DeltaNet::take_vectors(WeightLoader& loader, const std::string& module) {
  const std::size_t channels = shape_.channels(), kernel = shape_.kernel;
  // Hugging Face stores [channels, 1, kernel], MLX [channels, kernel, 1]: the same bytes.
  const std::string convolution = module + ".conv1d.weight";
  const Shape turned = {channels, kernel, 1};
  const std::vector<float> by_channel =
      loader.values(convolution, loader.shape(convolution) == turned ? turned : Shape{channels, 1, kernel});
  std::vector<double> taps(by_channel.size());
  for (std::size_t c = 0; c < channels; ++c)
    for (std::size_t i = 0; i < kernel; ++i)
      taps[i * channels + c] = static_cast<double>(by_channel[c * kernel + i]);
  taps_ = ops_.vector(taps);
  rate_ = loader.vector(module + ".A_log", shape_.value_heads);
  bias_ = loader.vector(module + ".dt_bias", shape_.value_heads);
  norm_ = loader.vector(module + ".norm.weight", shape_.value_dim);
}

double DeltaNet::flops_per_token() const {
  double flops = output_.flops_per_token();
  for (const Projection* projection : {&in_, &gates_, &qkv_, &z_, &b_, &a_})
    if (projection->weight) flops += projection->flops_per_token();
  return flops;
}

/// Rows of in_proj_qkvz lie by key head as q, k, its value heads' v, their z; those of in_proj_ba as b, a.
void DeltaNet::project_fused(const Rows& x, const Projected& made, Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  const std::size_t heads = shape_.key_heads, dim = shape_.key_dim, keys = heads * dim;
  const std::size_t ratio = shape_.value_heads / heads, group = ratio * shape_.value_dim;
  const Rows all = workspace.take(ops_.element(), x.count(), shape_.channels() + shape_.values());
  const Rows pairs = workspace.take(ops_.element(), x.count(), 2 * shape_.value_heads);
  project(ops_, {&in_, &gates_}, x, {all, pairs});
  ops_.copy_heads(all, heads, 0, dim, made.mixed, 0);
  ops_.copy_heads(all, heads, dim, dim, made.mixed, keys);
  ops_.copy_heads(all, heads, 2 * dim, group, made.mixed, 2 * keys);
  ops_.copy_heads(all, heads, 2 * dim + group, group, made.gate, 0);
  ops_.copy_heads(pairs, heads, 0, ratio, made.beta, 0);
  ops_.copy_heads(pairs, heads, ratio, ratio, made.decay, 0);
}

void DeltaNet::forward(const Batch& batch, const Rows& x, const Rows& out, Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  const auto take = [&](std::size_t columns) { return workspace.take(ops_.element(), x.count(), columns); };
  const Projected made{take(shape_.channels()), take(shape_.values()), take(shape_.value_heads),
                       take(shape_.value_heads)};
  if (fused_)
    project_fused(x, made, workspace);
  else
    project(ops_, {&qkv_, &z_, &b_, &a_}, x, {made.mixed, made.gate, made.beta, made.decay});
  ops_.delta_gates(made.beta, made.decay, *rate_, *bias_);

  const auto chunks = batch.at(layer_);
  const Rows mixed = take(shape_.channels()), answers = take(shape_.values());
  ops_.causal_convolution(chunks, shape_, *taps_, made.mixed, mixed);
  ops_.silu(mixed);
  const std::size_t dim = shape_.key_dim;
  ops_.l2_norm(mixed, 0, shape_.key_heads, dim, dim);
  ops_.l2_norm(mixed, shape_.key_heads * dim, shape_.key_heads, dim, 1);
  ops_.delta_rule(chunks, shape_, mixed, made.beta, made.decay, answers);
  ops_.rms_norm(answers.split(shape_.value_dim), *norm_, epsilon_, answers.split(shape_.value_dim));
  ops_.silu_multiply(made.gate, answers);  // silu(z) * answer
  project(ops_, {&output_}, made.gate, {out});
}

}  // namespace assay
