#include "assay/recipes/experts_apart.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "assay/base/error.h"
#include "assay/model/roles.h"

namespace assay {
namespace {

/// How a stack of matrices is named, and what each of the equal parts of one of its matrices is.
struct Stack {
  std::string_view suffix;
  std::vector<std::string_view> parts;
};

const std::array<Stack, 5> kStacks = {{{".experts.gate_up_proj", {"gate_proj", "up_proj"}},
                                       {".experts.down_proj", {"down_proj"}},
                                       {".switch_mlp.gate_proj.weight", {"gate_proj"}},
                                       {".switch_mlp.up_proj.weight", {"up_proj"}},
                                       {".switch_mlp.down_proj.weight", {"down_proj"}}}};

void add_apart(const Tensor& tensor, const Stack& stack, std::vector<Tensor>& out) {
  if (tensor.shape.size() != 3 || tensor.shape[1] % stack.parts.size() != 0 || tensor.format == nullptr)
    fail("{}: tensor {}: {}, a stack of experts expected", tensor.file, tensor.name,
         shape_text(tensor.shape));
  const std::string module = tensor.name.substr(0, tensor.name.size() - stack.suffix.size());
  const std::uint64_t rows = tensor.shape[1] / stack.parts.size();
  std::uint64_t first = 0;
  for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert)
    for (const std::string_view part : stack.parts) {
      out.push_back(
          row_slice(tensor, first, rows, fmt::format("{}.experts.{}.{}.weight", module, expert, part)));
      first += rows;
    }
}

}  // namespace

CheckpointPtr with_experts_apart(const CheckpointPtr& checkpoint) {
  auto apart = std::make_shared<Checkpoint>(*checkpoint);
  apart->tensors.clear();
  bool any = false;
  for (const Tensor& tensor : checkpoint->tensors) {
    const auto stack =
        std::ranges::find_if(kStacks, [&](const Stack& s) { return tensor.name.ends_with(s.suffix); });
    if (stack != kStacks.end())
      add_apart(tensor, *stack, apart->tensors);
    else
      apart->tensors.push_back(tensor);
    any = any || is_expert_matrix(require_role(tensor.name, checkpoint->path));
  }
  if (!any) fail("{}: has no experts: it is a dense model", checkpoint->path);
  std::ranges::sort(apart->tensors, {}, &Tensor::name);
  return apart;
}

std::string expert_record(const std::string& tensor) {
  const std::optional<Role> role = classify_tensor(tensor);
  const int expert = expert_of(tensor);
  if (!role || !is_expert_matrix(*role) || expert < 0) return {};
  const std::string part = fmt::format(".experts.{}.", expert);
  return tensor.substr(0, tensor.find(part) + part.size() - 1);
}

}  // namespace assay
