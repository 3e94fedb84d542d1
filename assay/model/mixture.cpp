#include "assay/model/mixture.h"

#include <fmt/core.h>

#include <array>
#include <optional>
#include <utility>

namespace assay {

namespace {

/// Where one matrix of an expert is stored: a tensor of its own, or a part of a stack.
struct ExpertMatrix {
  std::string tensor;
  std::optional<WeightLoader::StackSlice> slice;
  std::uint64_t rows, columns;
};

/// Gate, up and down of expert `e`, in whichever of the three ways the checkpoint stores experts.
std::array<ExpertMatrix, 3> matrices_of_expert(const ModelConfig& config, const WeightLoader& loader,
                                               const std::string& module, std::uint64_t e) {
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  const auto count = static_cast<std::uint64_t>(config.mixture.experts);
  const auto inner = static_cast<std::uint64_t>(config.mixture.intermediate);
  using Slice = WeightLoader::StackSlice;
  const std::string fused = module + ".experts.gate_up_proj", stacked = module + ".switch_mlp.";
  if (loader.has(fused))
    return {{{fused, Slice{e, count, 0, 2}, inner, hidden},
             {fused, Slice{e, count, 1, 2}, inner, hidden},
             {module + ".experts.down_proj", Slice{e, count}, hidden, inner}}};
  if (loader.has(stacked + "gate_proj.weight"))
    return {{{stacked + "gate_proj.weight", Slice{e, count}, inner, hidden},
             {stacked + "up_proj.weight", Slice{e, count}, inner, hidden},
             {stacked + "down_proj.weight", Slice{e, count}, hidden, inner}}};
  const std::string expert = fmt::format("{}.experts.{}", module, e);
  return {{{expert + ".gate_proj.weight", std::nullopt, inner, hidden},
           {expert + ".up_proj.weight", std::nullopt, inner, hidden},
           {expert + ".down_proj.weight", std::nullopt, hidden, inner}}};
}

class ResidentExperts final : public Experts {
 public:
  explicit ResidentExperts(std::vector<DenseMlp> experts) : experts_(std::move(experts)) {}
  void visit(std::span<const std::uint32_t> wanted, const Use& use) const override {
    for (const std::uint32_t expert : wanted) use(expert, experts_[expert]);
  }

 private:
  std::vector<DenseMlp> experts_;
};

std::unique_ptr<Experts> load_experts(const ModelConfig& config, WeightLoader& loader,
                                      const std::string& module, int layer, ExpertSource* source) {
  std::vector<DenseMlp> resident;
  std::vector<ExpertTensors> stored;
  for (std::uint64_t e = 0; e < static_cast<std::uint64_t>(config.mixture.experts); ++e) {
    const std::array matrices = matrices_of_expert(config, loader, module, e);
    const auto tensor = [&](const ExpertMatrix& m) {
      return m.slice ? loader.stored_matrix_of_stack(m.tensor, *m.slice, m.rows, m.columns)
                     : loader.stored_matrix(m.tensor, m.rows, m.columns);
    };
    const auto projection = [&](const ExpertMatrix& m) {
      return Projection{m.slice ? loader.matrix_of_stack(m.tensor, *m.slice, m.rows, m.columns)
                                : loader.matrix(m.tensor, m.rows, m.columns),
                        {}};
    };
    if (source != nullptr)
      stored.push_back({tensor(matrices[0]), tensor(matrices[1]), tensor(matrices[2])});
    else
      resident.emplace_back(loader.ops(), projection(matrices[0]), projection(matrices[1]),
                            projection(matrices[2]));
  }
  if (source != nullptr) return source->add_layer(loader.ops(), layer, std::move(stored));
  return std::make_unique<ResidentExperts>(std::move(resident));
}

/// Which tokens visit each expert: by expert, of an expert in the order of the tokens.
struct Visitations {
  std::vector<std::uint32_t> wanted;  // experts that anybody visits
  std::vector<GatheredRow> rows;      // of all visits; a visit's slot is its place here

  Visitations(const Routing& routing, std::size_t tokens, std::size_t experts) : begins_(experts + 1) {
    for (const Visit& visit : routing.visits) ++begins_[visit.expert + 1];
    for (std::uint32_t e = 0; e < experts; ++e) {
      if (begins_[e + 1] > 0) wanted.push_back(e);
      begins_[e + 1] += begins_[e];
    }
    rows.resize(routing.visits.size());
    std::vector<std::uint32_t> next(begins_.begin(), begins_.end() - 1);
    const std::size_t active = tokens == 0 ? 0 : routing.visits.size() / tokens;
    for (std::size_t i = 0; i < routing.visits.size(); ++i) {
      const Visit& visit = routing.visits[i];
      const std::uint32_t slot = next[visit.expert]++;
      rows[slot] = {static_cast<std::uint32_t>(i / active), slot, visit.weight};
    }
  }
  std::span<const GatheredRow> of(std::uint32_t expert) const {
    return std::span(rows).subspan(begins_[expert], begins_[expert + 1] - begins_[expert]);
  }

 private:
  std::vector<std::uint32_t> begins_;  // of each expert's rows, and their end
};

}  // namespace

MixtureOfExperts::MixtureOfExperts(const ModelConfig& config, WeightLoader& loader, const std::string& module,
                                   int layer, ExpertSource* source)
    : ops_(loader.ops()),
      hidden_(static_cast<std::size_t>(config.hidden)),
      config_(config.mixture),
      layer_(layer) {
  router_ = loader.projection(module + ".gate", static_cast<std::uint64_t>(config_.experts), hidden_, false);
  experts_ = load_experts(config, loader, module, layer, source);
  if (config_.shared_intermediate == 0) return;
  const auto inner = static_cast<std::uint64_t>(config_.shared_intermediate);
  const std::string shared = module + ".shared_expert";
  shared_ = std::make_unique<DenseMlp>(ops_, loader.projection(shared + ".gate_proj", inner, hidden_, false),
                                       loader.projection(shared + ".up_proj", inner, hidden_, false),
                                       loader.projection(shared + ".down_proj", hidden_, inner, false));
  shared_gate_ = loader.projection(module + ".shared_expert_gate", 1, hidden_, false);
}

double MixtureOfExperts::flops_per_token() const {
  double flops =
      router_.flops_per_token() + 6.0 * config_.active * config_.intermediate * static_cast<double>(hidden_);
  if (shared_) flops += shared_->flops_per_token() + shared_gate_.flops_per_token();
  return flops;
}

void MixtureOfExperts::forward(const Rows& x, const Rows& out, Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  const std::size_t tokens = x.count();
  const auto active = static_cast<std::size_t>(config_.active),
             experts = static_cast<std::size_t>(config_.experts);
  Routing routing;
  {
    const Workspace::Scope routers(workspace);
    const Rows logits = workspace.take(ops_.element(), tokens, experts);
    project(ops_, {&router_}, x, {logits});
    ops_.route(logits, {active, static_cast<std::size_t>(config_.trained_active), config_.normalise, layer_},
               routing);
  }
  const Visitations visitations(routing, tokens, experts);

  // Results of all visits, because experts come in any order and a token's sum must not depend on it.
  const Rows results = workspace.take(ops_.element(), tokens * active, hidden_);
  experts_->visit(visitations.wanted, [&](std::uint32_t expert, const DenseMlp& mlp) {
    const auto visitors = visitations.of(expert);
    const Rows rows = results.range(visitors.front().slot, visitors.size());
    ops_.gather(x, visitors, rows);
    mlp.forward(rows, rows, workspace);
  });
  const Rows sum = workspace.take(ops_.element(), tokens, hidden_);
  ops_.zero(sum);
  ops_.scatter_add(results, visitations.rows, sum);
  if (shared_) add_shared(x, sum, workspace);
  ops_.copy(sum, out);
}

void MixtureOfExperts::add_shared(const Rows& x, const Rows& out, Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  const Rows gates = workspace.take(ops_.element(), x.count(), 1);
  const Rows rows = workspace.take(ops_.element(), x.count(), hidden_);
  project(ops_, {&shared_gate_}, x, {gates});
  shared_->forward(x, rows, workspace);
  ops_.add_gated(out, gates, rows);
}

}  // namespace assay
