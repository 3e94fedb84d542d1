#include "assay/model/attention.h"

namespace assay {

Attention::Attention(const ModelConfig& config, WeightLoader& loader, const std::string& module, int layer)
    : ops_(loader.ops()),
      layer_(layer),
      shape_{static_cast<std::size_t>(config.heads), static_cast<std::size_t>(config.kv_heads),
             static_cast<std::size_t>(config.head_dim)},
      gated_(config.gated_query),
      epsilon_(config.norm_epsilon) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  const std::uint64_t queries = shape_.heads * shape_.head_dim, keys = shape_.kv_heads * shape_.head_dim;
  const bool bias = config.attention_bias;
  query_ = loader.projection(module + ".q_proj", (gated_ ? 2 : 1) * queries, hidden, bias);
  key_ = loader.projection(module + ".k_proj", keys, hidden, bias);
  value_ = loader.projection(module + ".v_proj", keys, hidden, bias);
  output_ = loader.projection(module + ".o_proj", hidden, queries, config.output_bias);
  if (config.query_key_norm) {
    query_norm_ = loader.norm(module + ".q_norm.weight", shape_.head_dim, config.shifted_norms);
    key_norm_ = loader.norm(module + ".k_norm.weight", shape_.head_dim, config.shifted_norms);
  }
}

double Attention::flops_per_token() const {
  return query_.flops_per_token() + key_.flops_per_token() + value_.flops_per_token() +
         output_.flops_per_token();
}

void Attention::forward(const Batch& batch, const Rows& x, const Rows& out, Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  const std::size_t dim = shape_.head_dim, width = shape_.heads * dim;
  const auto take = [&](std::size_t columns) { return workspace.take(ops_.element(), x.count(), columns); };
  const Rows queries = take(width), keys = take(shape_.kv_heads * dim), values = take(shape_.kv_heads * dim);
  const Rows gates = gated_ ? take(width) : Rows();
  const Rows projected = gated_ ? take(2 * width) : queries;
  project(ops_, {&query_, &key_, &value_}, x, {projected, keys, values});
  if (gated_) {  // each head's query, its gate behind it
    ops_.copy_heads(projected, shape_.heads, 0, dim, queries, 0);
    ops_.copy_heads(projected, shape_.heads, dim, dim, gates, 0);
  }
  if (query_norm_) {
    ops_.rms_norm(queries.split(dim), *query_norm_, epsilon_, queries.split(dim));
    ops_.rms_norm(keys.split(dim), *key_norm_, epsilon_, keys.split(dim));
  }
  ops_.rope(batch.angles(), dim, queries);
  ops_.rope(batch.angles(), dim, keys);
  const auto chunks = batch.at(layer_);
  ops_.append(chunks, keys, values);
  const Rows mixed = take(width);
  ops_.attention(chunks, shape_, queries, mixed);
  if (gated_) ops_.sigmoid_multiply(mixed, gates);
  project(ops_, {&output_}, mixed, {out});
}

}  // namespace assay
