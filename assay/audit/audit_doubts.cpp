#include "assay/audit/audit_doubts.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "assay/model/config.h"

namespace assay {
namespace {

/// Matrices that belong together: those of one expert, or all others of a layer (expert -1).
struct Unit {
  int layer = -1, expert = -1;
  auto operator<=>(const Unit&) const = default;
};
std::string name_of(const Unit& unit) {
  return unit.expert < 0 ? fmt::format("layer {}", unit.layer)
                         : fmt::format("layer {}, expert {}", unit.layer, unit.expert);
}

struct Member {
  const TensorAudit* tensor;
  std::size_t matrix;
  std::string module;  // tells matrices of one role apart: in_proj_qkv and in_proj_z
  std::uint64_t hash() const { return tensor->facts->matrices[matrix]; }
  bool zero() const { return hash() == 0; }
};
using Units = std::map<Unit, std::vector<Member>>;

/// "q_proj" of "model.layers.0.self_attn.q_proj.weight".
std::string module_name(std::string_view tensor) {
  if (tensor.ends_with(".weight")) tensor.remove_suffix(7);
  return std::string(tensor.substr(tensor.rfind('.') + 1));
}

Units collect_units(const AuditReport& report) {
  Units units;
  for (const TensorAudit& tensor : report.tensors) {
    if (!tensor.facts || !is_block_matrix(tensor.role)) continue;
    const int layer = layer_of(tensor.name), expert = expert_of(tensor.name);
    const std::size_t matrices = tensor.facts->matrices.size();
    const bool stack = is_expert_matrix(tensor.role) && expert < 0;
    for (std::size_t m = 0; m < matrices; ++m)
      units[{layer, stack ? static_cast<int>(m) : expert}].push_back({&tensor, m, module_name(tensor.name)});
  }
  return units;
}

bool is_mixer(Role role) {
  return role == Role::attention_q || role == Role::attention_k || role == Role::attention_v ||
         role == Role::attention_o || role == Role::linear_attention_in ||
         role == Role::linear_attention_gates || role == Role::linear_attention_out;
}
bool is_output(Role role) {
  return role == Role::attention_o || role == Role::linear_attention_out || role == Role::mlp_down ||
         role == Role::expert_down || role == Role::shared_expert_down;
}

/// Units all of whose matrices are those of an earlier unit.
void find_copies(const Units& units, AuditDoubts& doubts) {
  using Signature = std::vector<std::pair<std::string, std::uint64_t>>;
  std::map<Signature, Unit> seen;
  std::vector<std::string> copies;
  for (const auto& [unit, members] : units) {
    Signature signature;
    for (const Member& member : members) signature.emplace_back(member.module, member.hash());
    std::ranges::sort(signature);
    const bool any_zero = std::ranges::any_of(members, &Member::zero);
    if (members.size() < 2 || any_zero) continue;
    const auto [found, fresh] = seen.emplace(std::move(signature), unit);
    if (fresh) continue;
    for (const Member& member : members) doubts.repeated.emplace(member.tensor, member.matrix);
    copies.push_back(fmt::format("{} of {}", name_of(unit), name_of(found->second)));
  }
  if (!copies.empty())
    doubts.notes.push_back(fmt::format(
        "doubt: {} whole copies ({}{}): a deepened or upcycled model, or one written wrongly; --against its "
        "original tells",
        copies.size(), copies[0], copies.size() > 1 ? ", ..." : ""));
}

/// Blocks that change nothing (every way out of them is zero), and mixers, MLPs and experts of nothing but
/// zeros.
void find_zero_parts(const Units& units, AuditDoubts& doubts) {
  std::map<int, std::vector<Member>> outputs;  // by layer
  for (const auto& [unit, members] : units)
    for (const Member& member : members)
      if (is_output(member.tensor->role)) outputs[unit.layer].push_back(member);
  std::vector<std::string> parts;
  const auto doubt = [&](const std::vector<Member>& members, std::string what) {
    for (const Member& member : members) doubts.zero.emplace(member.tensor, member.matrix);
    parts.push_back(std::move(what));
  };
  for (const auto& [layer, members] : outputs)
    if (members.size() > 1 && std::ranges::all_of(members, &Member::zero))
      doubt(members, fmt::format("the block of layer {} adds nothing", layer));
  for (const auto& [unit, members] : units) {
    std::vector<Member> mixer, rest;
    for (const Member& member : members)
      (unit.expert < 0 && is_mixer(member.tensor->role) ? mixer : rest).push_back(member);
    for (const std::vector<Member>& part : {mixer, rest})
      if (part.size() > 1 && std::ranges::all_of(part, &Member::zero))
        doubt(part, fmt::format("{}: {} all zero", name_of(unit),
                                unit.expert >= 0  ? "the expert is"
                                : &part == &mixer ? "the mixer is"
                                                  : "the matrices are"));
  }
  if (!parts.empty())
    doubts.notes.push_back(
        fmt::format("doubt: {} ({} such parts): pruned, added as identity, or never written; --against its "
                    "original tells",
                    parts[0], parts.size()));
}

/// Rows that one head has in q_proj, k_proj, v_proj; 0: not known.
std::uint64_t rows_of_head(const Json& config, const TensorAudit& tensor) {
  const Json& text = text_config(config);
  const auto number = [&](const char* key) -> std::uint64_t {
    const auto found = text.is_object() ? text.find(key) : text.end();
    return text.is_object() && found != text.end() && found->is_number_unsigned()
               ? found->get<std::uint64_t>()
               : 0;
  };
  const std::uint64_t heads = number("num_attention_heads");
  if (heads == 0) return 0;
  if (tensor.role == Role::attention_q)
    return tensor.facts->rows % heads == 0 ? tensor.facts->rows / heads : 0;
  if (tensor.role != Role::attention_k && tensor.role != Role::attention_v) return 0;
  const std::uint64_t kv_heads = std::max<std::uint64_t>(1, number("num_key_value_heads"));
  return tensor.facts->rows % kv_heads == 0 ? tensor.facts->rows / kv_heads : 0;
}

bool are_whole_runs(const std::vector<std::uint64_t>& rows, std::uint64_t run) {
  if (run < 2 || rows.size() % run != 0) return false;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i] % run != i % run || (i % run != 0 && rows[i] != rows[i - 1] + 1)) return false;
  return true;
}

/// The same neurons of gate and up, or whole heads.
void find_pruned_rows(const Units& units, const Json& config, AuditDoubts& doubts) {
  std::set<std::string> where;
  for (const auto& [unit, members] : units) {
    const auto zero_rows = [](const Member& member) -> const auto& {
      return member.tensor->facts->zero_rows;
    };
    for (const Member& a : members) {
      if (zero_rows(a).empty() || a.tensor->facts->matrices.size() > 1) continue;
      bool pruned = are_whole_runs(zero_rows(a), rows_of_head(config, *a.tensor));
      for (const Member& b : members)
        pruned |= a.tensor != b.tensor && zero_rows(a) == zero_rows(b) &&
                  std::set{a.module, b.module} == std::set<std::string>{"gate_proj", "up_proj"};
      if (!pruned) continue;
      doubts.pruned.insert(a.tensor);
      const bool of_mixer = is_mixer(a.tensor->role);
      for (const Member& out : members)
        if (is_output(out.tensor->role) && is_mixer(out.tensor->role) == of_mixer)
          doubts.thinned.insert(out.tensor);
      where.insert(a.tensor->name);
    }
  }
  if (!where.empty())
    doubts.notes.push_back(
        fmt::format("doubt: whole heads or neurons are zero in {} matrices (first: {}): pruned, or never "
                    "written; --against "
                    "its original tells",
                    where.size(), *where.begin()));
}

}  // namespace

AuditDoubts find_doubts(const AuditReport& report, const Checkpoint& model) {
  AuditDoubts doubts;
  const Units units = collect_units(report);
  find_copies(units, doubts);
  find_zero_parts(units, doubts);
  find_pruned_rows(units, model.config, doubts);
  return doubts;
}

}  // namespace assay
