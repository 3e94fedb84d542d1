#include "assay/model/mixture.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <utility>

#include "assay/base/float_buffer.h"
#include "assay/kernels/elementwise.h"

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
      resident.emplace_back(projection(matrices[0]), projection(matrices[1]), projection(matrices[2]));
  }
  if (source != nullptr) return source->add_layer(layer, std::move(stored));
  return std::make_unique<ResidentExperts>(std::move(resident));
}

}  // namespace

std::vector<Visit> choose_experts(std::span<float> logits, const MixtureConfig& config) {
  scaled_softmax(logits, 1.0f);
  const auto active = static_cast<std::size_t>(config.active);
  const auto trained = static_cast<std::size_t>(config.trained_active);
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(std::max(active, trained)),
                    order.end(), [&](std::uint32_t a, std::uint32_t b) {
                      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
                    });
  const auto total = [&](std::size_t count) {
    float sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += logits[order[i]];
    return sum;
  };
  std::vector<Visit> visits;
  for (std::size_t i = 0; i < active; ++i) visits.push_back({order[i], logits[order[i]]});
  if (config.normalise) {
    const float sum = total(active);
    for (Visit& visit : visits) visit.weight /= sum;
  } else if (active != trained) {
    const float share = total(trained) / total(active);
    for (Visit& visit : visits) visit.weight *= share;
  }
  return visits;
}

MixtureOfExperts::MixtureOfExperts(const ModelConfig& config, WeightLoader& loader, const std::string& module,
                                   int layer, const MixtureOptions& options)
    : hidden_(static_cast<std::size_t>(config.hidden)),
      config_(config.mixture),
      layer_(layer),
      watcher_(options.watcher) {
  router_ = loader.projection(module + ".gate", static_cast<std::uint64_t>(config_.experts), hidden_, false);
  experts_ = load_experts(config, loader, module, layer, options.source);
  if (config_.shared_intermediate == 0) return;
  const auto inner = static_cast<std::uint64_t>(config_.shared_intermediate);
  const std::string shared = module + ".shared_expert";
  shared_ = std::make_unique<DenseMlp>(loader.projection(shared + ".gate_proj", inner, hidden_, false),
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

/// Which tokens visit each expert.
std::vector<std::vector<MixtureOfExperts::Route>> MixtureOfExperts::route(std::size_t tokens,
                                                                          std::span<const float> x) const {
  const auto experts = static_cast<std::size_t>(config_.experts);
  FloatBuffer logits(tokens * experts);
  router_.forward(x, tokens, logits);
  std::vector<std::vector<Route>> routes(experts);
  for (std::size_t token = 0; token < tokens; ++token) {
    const std::span row = std::span<float>(logits).subspan(token * experts, experts);
    const std::vector<Visit> visits = choose_experts(row, config_);
    if (watcher_) watcher_(layer_, row, visits);
    for (const Visit& visit : visits) routes[visit.expert].push_back({token, visit.weight, 0});
  }
  std::size_t slot = 0;
  for (std::vector<Route>& visitors : routes)
    for (Route& visitor : visitors) visitor.slot = slot++;
  return routes;
}

void MixtureOfExperts::forward(std::size_t tokens, std::span<const float> x, std::span<float> out) const {
  const std::vector<std::vector<Route>> routes = route(tokens, x);
  std::vector<std::uint32_t> wanted;
  for (std::uint32_t e = 0; e < routes.size(); ++e)
    if (!routes[e].empty()) wanted.push_back(e);
  // Results of all visits, because experts come in any order and a token's sum must not depend on it.
  FloatBuffer results(tokens * static_cast<std::size_t>(config_.active) * hidden_);
  experts_->visit(wanted, [&](std::uint32_t expert, const DenseMlp& mlp) {
    const std::vector<Route>& visitors = routes[expert];
    const std::span rows =
        std::span<float>(results).subspan(visitors.front().slot * hidden_, visitors.size() * hidden_);
    for (std::size_t i = 0; i < visitors.size(); ++i)
      std::copy_n(x.data() + visitors[i].token * hidden_, hidden_, rows.data() + i * hidden_);
    mlp.forward(visitors.size(), rows, rows);
  });
  FloatBuffer sum(tokens * hidden_);
  std::fill_n(sum.data(), sum.size(), 0.0f);
  for (const std::vector<Route>& visitors : routes)
    for (const Route& visitor : visitors)
      for (std::size_t j = 0; j < hidden_; ++j)
        sum.data()[visitor.token * hidden_ + j] +=
            visitor.weight * results.data()[visitor.slot * hidden_ + j];
  if (shared_) add_shared(tokens, x, sum);
  std::copy_n(sum.data(), sum.size(), out.data());
}

void MixtureOfExperts::add_shared(std::size_t tokens, std::span<const float> x, std::span<float> out) const {
  FloatBuffer gates(tokens), rows(tokens * hidden_);
  shared_gate_.forward(x, tokens, gates);
  shared_->forward(tokens, x, rows);
  for (std::size_t token = 0; token < tokens; ++token) {
    const float share = 1.0f / (1.0f + fast_exp(-gates.data()[token]));
    for (std::size_t j = 0; j < hidden_; ++j)
      out[token * hidden_ + j] += share * rows.data()[token * hidden_ + j];
  }
}

}  // namespace assay
