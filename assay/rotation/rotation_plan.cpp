#include "assay/rotation/rotation_plan.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/completeness.h"
#include "assay/model/model.h"
#include "assay/model/roles.h"
#include "assay/parallel/threads.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// Lists the steps of a model of dense MLPs: those of the tensors that its family has.
class Planner {
 public:
  explicit Planner(const Checkpoint& source);
  RotationPlan plan();

 private:
  using Action = RotationAction;
  void add(const std::string& name, Shape shape, Action action, const std::string& norm = "");
  void add_expected(const ExpectedTensor& tensor);
  void add_tied_head(const std::string& embedding);
  [[noreturn]] void refuse(const std::string& file, const std::string& name) const;
  const Tensor* only(Role role) const;  // the one tensor of a role, or null

  const Checkpoint& source_;
  RotationPlan plan_;
  std::string residual_norm_;  // the last one told: its readers follow it
};

Planner::Planner(const Checkpoint& source) : source_(source) {
  plan_.config = model_config_of(source);
  plan_.convention = norm_gain(plan_.config);
  for (const BlockConfig& block : plan_.config.blocks)
    if (block.feed_forward != FeedForwardKind::dense)
      fail("{}: a mixture of experts cannot be rotated, only models of dense MLPs", source.path);
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

void Planner::refuse(const std::string& file, const std::string& name) const {
  fail(
      "{}: tensor {}: it is not known how this tensor uses the residual stream, so the model cannot be "
      "rotated; remove it or take no rotation",
      file, name);
}

void Planner::add_expected(const ExpectedTensor& tensor) {
  const std::optional<Action> action = rotation_action(tensor.name);
  if (!action) refuse(source_.path, tensor.name);
  const bool reader = *action == Action::rotate_rows && classify_tensor(tensor.name) != Role::bias;
  add(tensor.name, tensor.shape, *action, reader ? residual_norm_ : "");
  if (*action == Action::neutral_norm) residual_norm_ = tensor.name;
}

/// The head of a tied model is made from the embedding, which keeps its own weights: the final norm goes into
/// one of the two only.
void Planner::add_tied_head(const std::string& embedding) {
  const Tensor* head = only(Role::head);
  const Shape shape = source_.at(embedding).shape;
  if (head != nullptr && (head->shape != shape || decode_all(*head) != decode_all(source_.at(embedding))))
    fail("{}: tensor {}: differs from {}, but tie_word_embeddings is true", head->file, head->name,
         embedding);
  plan_.steps.push_back({head == nullptr ? "lm_head.weight" : head->name, embedding, shape,
                         Action::rotate_rows, residual_norm_});
}

RotationPlan Planner::plan() {
  const Tensor* embedding = only(Role::embedding);
  if (embedding == nullptr) fail("{}: tensor model.embed_tokens.weight is missing", source_.path);
  only(Role::head);
  const auto add_told = [this](const ExpectedTensor& tensor) {
    add_expected(tensor);
    return true;
  };
  tell_expected_tensors(source_.config, add_told, &source_);
  if (plan_.config.tied_head) add_tied_head(embedding->name);
  std::ranges::sort(plan_.steps, {}, &RotationStep::name);
  for (const Tensor& tensor : source_.tensors)
    if (!std::ranges::binary_search(plan_.steps, tensor.name, {}, &RotationStep::name))
      refuse(tensor.file, tensor.name);
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

std::optional<RotationAction> rotation_action(std::string_view tensor) {
  using Action = RotationAction;
  switch (classify_tensor(tensor).value_or(Role::vision)) {
    case Role::embedding:
    case Role::head:
    case Role::attention_q:
    case Role::attention_k:
    case Role::attention_v:
    case Role::linear_attention_in:
    case Role::linear_attention_gates:
    case Role::mlp_gate:
    case Role::mlp_up:
      return Action::rotate_rows;
    case Role::attention_o:
    case Role::linear_attention_out:
    case Role::mlp_down:
      return Action::rotate_columns;
    case Role::convolution:
    case Role::decay:
      return Action::keep;
    case Role::bias: {
      const std::string weight = std::string(tensor.substr(0, tensor.rfind('.'))) + ".weight";
      const std::optional<Action> action = rotation_action(weight);
      if (action == Action::rotate_columns) return Action::rotate_rows;
      return action == Action::rotate_rows ? std::optional(Action::keep) : std::nullopt;
    }
    case Role::norm:
      // Of the residual stream on its way into a layer's halves or the head; of heads and of a delta net's
      // output. Of a norm anywhere else nothing is known.
      if (layer_of(tensor) < 0 || tensor.ends_with(".input_layernorm.weight") ||
          tensor.ends_with(".post_attention_layernorm.weight"))
        return Action::neutral_norm;
      if (tensor.ends_with(".self_attn.q_norm.weight") || tensor.ends_with(".self_attn.k_norm.weight") ||
          tensor.ends_with(".linear_attn.norm.weight"))
        return Action::keep;
      return std::nullopt;
    default:
      return std::nullopt;
  }
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
