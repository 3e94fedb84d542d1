#include "assay/recipes/plan.h"

#include <algorithm>
#include <map>

#include <fmt/ranges.h>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/recipes/mlx_conventions.h"
#include "assay/rounding/transcode.h"
#include "assay/storage/containers.h"
#include "assay/storage/tensor_planes.h"

namespace assay {
namespace {

/// A mixture of experts shows by any of these.
bool is_expert_role(Role role) {
  return is_expert_matrix(role) || role == Role::router;
}

/// The float format in which a container keeps what is not quantised.
FormatPtr kept_format(const Tensor& tensor, Container container, const std::string& origin) {
  if (!tensor.format)
    fail("{}: tensor {}: stored as {}, which no weight format reads", origin, tensor.name,
         dtype_name(tensor.dtype));
  if (!tensor.format->layout(1).has_params) {
    if (!container->vector_format.empty() && tensor.shape.size() == 1)
      return find_format(container->vector_format);
    if (!container->float_format.empty()) return find_format(container->float_format);
  }
  return tensor.format;
}

FormatPtr checked_format(const std::string& name, const Tensor& tensor,
                         const std::optional<DType>& parameters, const std::string& origin) {
  FormatPtr format =
      resolve_format(name, parameters.value_or(is_float(tensor.dtype) ? tensor.dtype : DType::F16));
  if (!format->can_encode())
    fail("{}: tensor {}: format {} can only be read, not written", origin, tensor.name, format->name());
  return format;
}

constexpr int kRefusedBelow = 8;  // a floor of so many bits is no advice

/// Bits of one code, scales left out: what floors are stated in.
double code_bits(const Format& format, const Tensor& tensor) {
  if (const auto view = format.affine()) {
    double bits = 0;
    for (Code codes = 1; codes < view->codes; codes *= 2) ++bits;
    return bits;
  }
  const MatrixShape shape = as_matrix(tensor.shape);
  return bits_per_weight(format, shape.rows, shape.columns);
}

/// Which matrices more than plain rounding is for: error feedback knows the inputs of linear layers inside
/// blocks.
void decide_method(TensorPlan& planned, const PlanOptions& options) {
  if (planned.method == Method::copy || is_plain_float(*planned.format)) return;
  if (planned.method == Method::rtn) planned.method = options.method;
  const bool has_inputs = is_block_matrix(planned.role);
  if (planned.method == Method::gptq && !(has_inputs && options.calibration)) planned.method = Method::rtn;
  // The prefix that calibration runs on holds the embedding as its own rule rounds it: so must the file.
  if (planned.method == Method::search && !has_inputs && options.calibration) planned.method = Method::rtn;
  planned.calibrated = has_inputs && options.calibration && planned.method != Method::rtn;
}

}  // namespace

bool is_refused_for(Role role, const Format& format, const Tensor& tensor) {
  const int floor = floor_bits(role);
  return floor >= kRefusedBelow && code_bits(format, tensor) < floor;
}

namespace {

/// Format and method as the rule has them, or an Error.
void apply_rule(const Rule& rule, TensorPlan& planned, const PlanOptions& options, const std::string& origin,
                std::vector<std::string>& notes, std::map<std::string, int>& below_floor) {
  const Tensor& tensor = *planned.source;
  const MatrixShape shape = as_matrix(tensor.shape);
  planned.method = rule.method;
  planned.format = checked_format(rule.format, tensor, options.parameters, origin);
  auto problem = planned.format->misfit(shape.rows, shape.columns);
  if (problem && !rule.otherwise.empty()) {
    notes.push_back(
        fmt::format("{}: {}; the rule's \"otherwise\" takes {}", tensor.name, *problem, rule.otherwise));
    planned.format = rule.otherwise == "source"
                         ? kept_format(tensor, options.container, origin)
                         : checked_format(rule.otherwise, tensor, options.parameters, origin);
    problem = planned.format->misfit(shape.rows, shape.columns);
  }
  if (problem)
    fail(
        "{}: tensor {} {} does not fit format {}: {}; choose another format for it, or give the rule an "
        "\"otherwise\"",
        origin, tensor.name, shape_text(tensor.shape), planned.format->name(), *problem);
  const int floor = floor_bits(planned.role);
  if (is_refused_for(planned.role, *planned.format, tensor))
    fail(
        "{}: tensor {}: {} would go to {}, below the floor of {} bits: too small to save anything, and a "
        "wrong "
        "choice of experts costs most; give it 8 bits or leave it out of the rule",
        origin, tensor.name, role_name(planned.role), planned.format->name(), floor);
  if (code_bits(*planned.format, tensor) < floor)
    ++below_floor[fmt::format("{} goes to {}, below the floor of {} bits for this role",
                              role_name(planned.role), planned.format->name(), floor)];
}

}  // namespace

Plan make_plan(CheckpointPtr source, const Recipe& recipe, const PlanOptions& options) {
  Plan plan;
  if (options.container->mlx_conventions) {
    MlxConventions conventions = with_mlx_conventions(source, false);
    plan.notes = std::move(conventions.notes);
    source = std::move(conventions.checkpoint);
  }
  plan.source = std::move(source);
  const Checkpoint& checkpoint = *plan.source;
  std::vector<Rule> rules = recipe.rules;
  if (!options.embed.empty()) {
    Rule ends;
    ends.roles = {"ends"};
    ends.format = options.embed;
    rules.insert(rules.begin(), std::move(ends));
  }
  std::vector<std::size_t> matched(rules.size(), 0);
  std::map<std::string, int> below_floor;  // note -> tensors

  for (const Tensor& tensor : checkpoint.tensors) {
    const Role role = require_role(tensor.name, checkpoint.path);
    if (recipe.dense_only && is_expert_role(role))
      fail(
          "{}: tensor {}: recipe {} is for dense models: it would leave the experts, most of a mixture's "
          "weights, at 4 bits; take w3-experts or mlx2-experts, or a recipe file with a rule for \"experts\"",
          checkpoint.path, tensor.name, recipe.name);
    TensorPlan planned{&tensor, role, kept_format(tensor, options.container, checkpoint.path)};
    const MatrixShape shape = as_matrix(tensor.shape);
    bool decided = false;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (!rule_matches(rules[i], tensor.name, role)) continue;
      ++matched[i];  // a rule hidden behind an earlier one still speaks of something
      if (decided) continue;
      decided = true;
      if (rules[i].format == "source") continue;
      apply_rule(rules[i], planned, options, checkpoint.path, plan.notes, below_floor);
    }
    if (planned.format->name() == tensor.format->name())
      planned.method = Method::copy;
    else if (planned.method == Method::copy)
      planned.method = Method::rtn;  // a float kept under the container's own float format
    if (planned.method == Method::copy && has_permuted_columns(tensor))
      fail(
          "{}: tensor {}: its groups are of columns that do not lie together (g_idx), so it cannot be kept "
          "as "
          "{}; "
          "give it a format",
          checkpoint.path, tensor.name, tensor.format->name());
    decide_method(planned, options);
    if (const auto problem = container_misfit(options.container, {tensor.name, tensor.shape, planned.format}))
      fail("{}: tensor {}: format {} cannot be stored in a {} directory: {}", checkpoint.path, tensor.name,
           planned.format->name(), container_name(options.container), *problem);
    if (!options.size_only && planned.method != Method::copy &&
        tensor.format->layout(shape.columns).has_params && !transcode_misfit(tensor, *planned.format)) {
      planned.method = Method::transcode;
      planned.calibrated = false;
    }
    plan.tensors.push_back(std::move(planned));
  }
  for (std::size_t i = 0; i < rules.size(); ++i)
    if (matched[i] == 0 && !rules[i].optional)
      fail("{}: recipe {}: rule {} (roles {}, names {}) matches no tensor of the model{}", checkpoint.path,
           recipe.name, i, fmt::join(rules[i].roles, ","), fmt::join(rules[i].names, ","),
           rules[i].roles == std::vector<std::string>{"experts"} ? ": it is dense, it has no experts" : "");
  for (const auto& [note, count] : below_floor)
    plan.notes.push_back(fmt::format("{} ({} tensors)", note, count));
  return plan;
}

SizeSummary planned_size(const Plan& plan) {
  SizeSummary size;
  for (const TensorPlan& tensor : plan.tensors) {
    const MatrixShape shape = as_matrix(tensor.source->shape);
    size.add(tensor.role, shape.rows * shape.columns,
             packed_bytes(*tensor.format, shape.rows, shape.columns).value());
  }
  return size;
}

}  // namespace assay
