#include "assay/quantize/rotation_plan.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/model.h"
#include "assay/model/roles.h"
#include "assay/parallel/threads.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// Lists the steps of a model of dense MLPs.
class Planner {
 public:
  explicit Planner(const Checkpoint& source);
  RotationPlan plan();

 private:
  using Action = RotationAction;
  void add(const std::string& name, Shape shape, Action action, const std::string& norm = "");
  /// A matrix and its bias, if there is one.
  void add_reader(const std::string& module, std::uint64_t rows, bool bias, const std::string& norm);
  void add_writer(const std::string& module, std::uint64_t columns, bool bias);
  void add_attention(const std::string& module, const std::string& norm);
  void add_delta_net(const std::string& module, const std::string& norm);
  void add_layer(const std::string& layer, MixerKind mixer);
  void add_head(const std::string& embedding, const std::string& norm);
  const Tensor* only(Role role) const;  // the one tensor of a role, or null

  const Checkpoint& source_;
  RotationPlan plan_;
  std::uint64_t hidden_;
};

Planner::Planner(const Checkpoint& source) : source_(source) {
  plan_.config = model_config_of(source);
  plan_.convention = norm_gain(plan_.config);
  for (const BlockConfig& block : plan_.config.blocks)
    if (block.feed_forward != FeedForwardKind::dense)
      fail("{}: a mixture of experts cannot be rotated, only models of dense MLPs", source.path);
  hidden_ = static_cast<std::uint64_t>(plan_.config.hidden);
  for (const Json* level : {&source.config, &text_config(source.config)})
    for (const char* key : {kRotationKey, "quarot_rotation_seed"})
      if (level->contains(key))
        fail("{}: config.json says {}: the model is rotated already; rotate the original", source.path, key);
}

const Tensor* Planner::only(Role role) const {
  const Tensor* found = nullptr;
  for (const Tensor& tensor : source_.tensors) {
    if (classify_tensor(tensor.name) != role) continue;
    if (found != nullptr)
      fail("{}: tensors {} and {}: two of role {}", source_.path, found->name, tensor.name, role_name(role));
    found = &tensor;
  }
  return found;
}

void Planner::add(const std::string& name, Shape shape, Action action, const std::string& norm) {
  const Tensor& tensor = source_.at(name);
  if (tensor.shape != shape)
    fail("{}: tensor {}: shape is {}, the config says {}", tensor.file, name, shape_text(tensor.shape),
         shape_text(shape));
  if (tensor.format == nullptr)
    fail("{}: tensor {}: dtype {} holds no weights", tensor.file, name, dtype_name(tensor.dtype));
  plan_.steps.push_back({name, name, std::move(shape), action, norm});
}

void Planner::add_reader(const std::string& module, std::uint64_t rows, bool bias, const std::string& norm) {
  add(module + ".weight", {rows, hidden_}, Action::rotate_rows, norm);
  if (bias) add(module + ".bias", {rows}, Action::keep);
}

void Planner::add_writer(const std::string& module, std::uint64_t columns, bool bias) {
  add(module + ".weight", {hidden_, columns}, Action::rotate_columns);
  if (bias) add(module + ".bias", {hidden_}, Action::rotate_rows);
}

void Planner::add_attention(const std::string& module, const std::string& norm) {
  const ModelConfig& config = plan_.config;
  const auto head = static_cast<std::uint64_t>(config.head_dim);
  const std::uint64_t mixed = static_cast<std::uint64_t>(config.heads) * head;
  const std::uint64_t keys = static_cast<std::uint64_t>(config.kv_heads) * head;
  add_reader(module + "q_proj", (config.gated_query ? 2 : 1) * mixed, config.attention_bias, norm);
  add_reader(module + "k_proj", keys, config.attention_bias, norm);
  add_reader(module + "v_proj", keys, config.attention_bias, norm);
  add_writer(module + "o_proj", mixed, config.attention_bias);
  if (config.query_key_norm)
    for (const char* name : {"q_norm.weight", "k_norm.weight"}) add(module + name, {head}, Action::keep);
}

void Planner::add_delta_net(const std::string& module, const std::string& norm) {
  const DeltaNetConfig& net = plan_.config.delta_net;
  const auto channels = static_cast<std::uint64_t>(net.channels());
  const auto heads = static_cast<std::uint64_t>(net.value_heads);
  const std::uint64_t values = heads * static_cast<std::uint64_t>(net.value_dim);
  if (net.fused_projections) {
    add_reader(module + "in_proj_qkvz", channels + values, false, norm);
    add_reader(module + "in_proj_ba", 2 * heads, false, norm);
  } else {
    add_reader(module + "in_proj_qkv", channels, false, norm);
    add_reader(module + "in_proj_z", values, false, norm);
    add_reader(module + "in_proj_b", heads, false, norm);
    add_reader(module + "in_proj_a", heads, false, norm);
  }
  add_writer(module + "out_proj", values, false);
  const std::string convolution = module + "conv1d.weight";
  add(convolution, source_.at(convolution).shape, Action::keep);  // of either container's shape
  for (const char* name : {"A_log", "dt_bias"}) add(module + name, {heads}, Action::keep);
  add(module + "norm.weight", {static_cast<std::uint64_t>(net.value_dim)}, Action::keep);
}

void Planner::add_layer(const std::string& layer, MixerKind mixer) {
  const ModelConfig& config = plan_.config;
  const auto inner = static_cast<std::uint64_t>(config.intermediate);
  const std::string mlp = layer + "mlp.";
  const std::string mixer_norm = layer + "input_layernorm.weight";
  const std::string feed_forward_norm = layer + "post_attention_layernorm.weight";
  add(mixer_norm, {hidden_}, Action::neutral_norm);
  if (mixer == MixerKind::attention)
    add_attention(layer + "self_attn.", mixer_norm);
  else
    add_delta_net(layer + "linear_attn.", mixer_norm);
  add(feed_forward_norm, {hidden_}, Action::neutral_norm);
  add_reader(mlp + "gate_proj", inner, config.mlp_bias, feed_forward_norm);
  add_reader(mlp + "up_proj", inner, config.mlp_bias, feed_forward_norm);
  add_writer(mlp + "down_proj", inner, config.mlp_bias);
}

/// The head of a tied model is made from the embedding, which keeps its own weights: the final norm goes into
/// one of the two only.
void Planner::add_head(const std::string& embedding, const std::string& norm) {
  const Tensor* head = only(Role::head);
  const Shape shape = source_.at(embedding).shape;
  if (!plan_.config.tied_head) {
    add(head == nullptr ? "lm_head.weight" : head->name, shape, Action::rotate_rows, norm);
    return;
  }
  if (head != nullptr && (head->shape != shape || decode_all(*head) != decode_all(source_.at(embedding))))
    fail("{}: tensor {}: differs from {}, but tie_word_embeddings is true", head->file, head->name,
         embedding);
  plan_.steps.push_back(
      {head == nullptr ? "lm_head.weight" : head->name, embedding, shape, Action::rotate_rows, norm});
}

RotationPlan Planner::plan() {
  const Tensor* embedding = only(Role::embedding);
  if (embedding == nullptr) fail("{}: tensor model.embed_tokens.weight is missing", source_.path);
  const std::string prefix = embedding->name.substr(0, embedding->name.rfind("embed_tokens.weight"));
  add(embedding->name, {static_cast<std::uint64_t>(plan_.config.vocabulary), hidden_}, Action::rotate_rows);
  for (int layer = 0; layer < plan_.config.layers; ++layer)
    add_layer(fmt::format("{}layers.{}.", prefix, layer),
              plan_.config.blocks[static_cast<std::size_t>(layer)].mixer);
  add(prefix + "norm.weight", {hidden_}, Action::neutral_norm);
  add_head(embedding->name, prefix + "norm.weight");
  std::ranges::sort(plan_.steps, {}, &RotationStep::name);
  for (const Tensor& tensor : source_.tensors)
    if (!std::ranges::binary_search(plan_.steps, tensor.name, {}, &RotationStep::name))
      fail(
          "{}: tensor {}: it is not known how this tensor uses the residual stream, so the model cannot be "
          "rotated; remove it or take no rotation",
          tensor.file, tensor.name);
  return std::move(plan_);
}

}  // namespace

NormGain norm_gain(const ModelConfig& config) {
  return config.shifted_norms ? NormGain::shifted : NormGain::plain;
}

float neutral_norm(NormGain convention) {
  return convention == NormGain::plain ? 1.0f : 0.0f;
}

void fuse_norm(std::span<double> x, std::span<const float> norm, NormGain convention) {
  assert(!norm.empty() && x.size() % norm.size() == 0);
  const std::size_t width = x.size() / norm.size();
  const double offset = convention == NormGain::plain ? 0 : 1;
  for (std::size_t j = 0; j < norm.size(); ++j)
    for (double& value : x.subspan(j * width, width)) value *= offset + static_cast<double>(norm[j]);
}

RotationPlan plan_rotation(const Checkpoint& source) {
  return Planner(source).plan();
}

std::vector<float> decode_in_parallel(const Tensor& tensor) {
  const MatrixShape shape = as_matrix(tensor.shape);
  std::vector<float> weights(tensor.elements());
  const auto blocks = row_blocks(*tensor.format, shape);
  parallel_for(blocks.size(), [&](std::size_t b) {
    decode_rows(
        tensor, blocks[b].first_row, blocks[b].rows,
        std::span(weights).subspan(blocks[b].first_row * shape.columns, blocks[b].rows * shape.columns));
  });
  return weights;
}

std::vector<double> row_panel(const Tensor& tensor, std::uint64_t first, std::uint64_t width) {
  const std::uint64_t columns = as_matrix(tensor.shape).columns;
  std::vector<float> rows(width * columns);
  decode_rows(tensor, first, width, rows);
  std::vector<double> panel(rows.size());
  for (std::uint64_t r = 0; r < width; ++r)
    for (std::uint64_t j = 0; j < columns; ++j)
      panel[j * width + r] = static_cast<double>(rows[r * columns + j]);
  return panel;
}

std::vector<double> column_panel(std::span<const float> matrix, std::uint64_t columns, std::uint64_t first,
                                 std::uint64_t width) {
  const std::uint64_t rows = matrix.size() / columns;
  std::vector<double> panel(rows * width);
  for (std::uint64_t i = 0; i < rows; ++i)
    for (std::uint64_t c = 0; c < width; ++c)
      panel[i * width + c] = static_cast<double>(matrix[i * columns + first + c]);
  return panel;
}

}  // namespace assay
