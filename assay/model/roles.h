#pragma once
// The one classifier of tensor names (docs/formats.md, "Tensor names"): what a tensor is, from its whole
// name. Fails closed.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/model/config.h"
#include "assay/storage/checkpoint.h"

namespace assay {

enum class Role {
  embedding,
  head,
  attention_q,
  attention_k,
  attention_v,
  attention_o,
  linear_attention_in,
  linear_attention_gates,
  linear_attention_out,
  mlp_gate,
  mlp_up,
  mlp_down,
  expert_gate,
  expert_up,
  expert_down,
  expert_gate_up,
  shared_expert_gate_proj,
  shared_expert_up,
  shared_expert_down,
  router,
  shared_expert_gate,
  norm,
  convolution,
  decay,
  bias,
  multi_token_prediction,
  vision
};

std::string_view role_name(Role role);  // "mlp.gate", "attention.q", as recipes spell them
std::optional<Role> parse_role(std::string_view name);

/// The role of a tensor by its whole name, any of the legal prefixes; nothing when no pattern matches.
std::optional<Role> classify_tensor(std::string_view name);
/// As above; an unknown name is an Error listing the accepted patterns.
Role require_role(std::string_view name, const std::string& origin);

/// All matrices inside the blocks ("linear" bits per weight counts these).
bool is_block_matrix(Role role);
/// Matrices of the experts that a router chooses among.
bool is_expert_matrix(Role role);
/// A convolution as mlx-lm stores it, [channels, kernel, 1]? Hugging Face has [channels, 1, kernel]: the same
/// bytes. So is told what mlx-lm's conventions did to a model.
bool is_turned_convolution(const Tensor& tensor);
/// May this role be low-bit at all, and from how many bits on (docs/formats.md, "Tensor names")? 0 = any;
/// 16 = never.
int floor_bits(Role role);
/// Layer number in "...layers.{n}....", or -1.
int layer_of(std::string_view name);
/// Expert number in "...experts.{n}....", or -1: no expert, or all of a layer in one tensor.
int expert_of(std::string_view name);

/// Names and shapes of every tensor of a supported architecture; nothing for the others. The storage room's
/// hint.
std::optional<std::vector<ExpectedTensor>> expected_tensors(const Json& config);

/// open_checkpoint() with the hint above, everything there (completeness.h): how every command opens a model.
CheckpointPtr open_model(const std::string& path, const std::string& config_directory = "");

}  // namespace assay
