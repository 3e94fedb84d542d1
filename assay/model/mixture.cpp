#include "assay/model/mixture.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "assay/base/float_buffer.h"
#include "assay/kernels/elementwise.h"

namespace assay {

namespace {

std::vector<DenseMlp> load_experts(const MixtureConfig& config, WeightLoader& loader,
                                   const std::string& module, std::uint64_t hidden) {
  const auto count = static_cast<std::uint64_t>(config.experts);
  const auto inner = static_cast<std::uint64_t>(config.intermediate);
  const std::string fused = module + ".experts.gate_up_proj", stacked = module + ".switch_mlp.";
  const auto slice = [&](const std::string& name, const WeightLoader::StackSlice& which, std::uint64_t rows,
                         std::uint64_t columns) {
    return Projection{loader.matrix_of_stack(name, which, rows, columns), {}};
  };
  std::vector<DenseMlp> experts;
  for (std::uint64_t e = 0; e < count; ++e) {
    if (loader.has(fused)) {
      experts.emplace_back(slice(fused, {e, count, 0, 2}, inner, hidden),
                           slice(fused, {e, count, 1, 2}, inner, hidden),
                           slice(module + ".experts.down_proj", {e, count}, hidden, inner));
    } else if (loader.has(stacked + "gate_proj.weight")) {
      experts.emplace_back(slice(stacked + "gate_proj.weight", {e, count}, inner, hidden),
                           slice(stacked + "up_proj.weight", {e, count}, inner, hidden),
                           slice(stacked + "down_proj.weight", {e, count}, hidden, inner));
    } else {
      const std::string expert = fmt::format("{}.experts.{}", module, e);
      experts.emplace_back(loader.projection(expert + ".gate_proj", inner, hidden, false),
                           loader.projection(expert + ".up_proj", inner, hidden, false),
                           loader.projection(expert + ".down_proj", hidden, inner, false));
    }
  }
  return experts;
}

}  // namespace

std::vector<Visit> choose_experts(std::span<float> logits, std::size_t active, bool normalise) {
  scaled_softmax(logits, 1.0f);
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(active);
  std::partial_sort(order.begin(), last, order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  float total = 0;
  for (auto it = order.begin(); it != last; ++it) total += logits[*it];
  std::vector<Visit> visits;
  for (auto it = order.begin(); it != last; ++it)
    visits.push_back({*it, normalise ? logits[*it] / total : logits[*it]});
  return visits;
}

MixtureOfExperts::MixtureOfExperts(const ModelConfig& config, WeightLoader& loader, const std::string& module)
    : hidden_(static_cast<std::size_t>(config.hidden)), config_(config.mixture) {
  router_ = loader.projection(module + ".gate", static_cast<std::uint64_t>(config_.experts), hidden_, false);
  experts_ = load_experts(config_, loader, module, hidden_);
  if (config_.shared_intermediate == 0) return;
  const auto inner = static_cast<std::uint64_t>(config_.shared_intermediate);
  const std::string shared = module + ".shared_expert";
  shared_ = std::make_unique<DenseMlp>(loader.projection(shared + ".gate_proj", inner, hidden_, false),
                                       loader.projection(shared + ".up_proj", inner, hidden_, false),
                                       loader.projection(shared + ".down_proj", hidden_, inner, false));
  shared_gate_ = loader.projection(module + ".shared_expert_gate", 1, hidden_, false);
}

double MixtureOfExperts::flops_per_token() const {
  double flops = router_.flops_per_token() + config_.active * experts_.front().flops_per_token();
  if (shared_) flops += shared_->flops_per_token() + shared_gate_.flops_per_token();
  return flops;
}

std::vector<std::vector<MixtureOfExperts::Route>> MixtureOfExperts::route(std::size_t tokens,
                                                                          std::span<const float> x) const {
  FloatBuffer logits(tokens * experts_.size());
  router_.forward(x, tokens, logits);
  std::vector<std::vector<Route>> routes(experts_.size());
  for (std::size_t token = 0; token < tokens; ++token)
    for (const Visit& visit :
         choose_experts(std::span<float>(logits).subspan(token * experts_.size(), experts_.size()),
                        static_cast<std::size_t>(config_.active), config_.normalise))
      routes[visit.expert].push_back({token, visit.weight});
  return routes;
}

void MixtureOfExperts::forward(std::size_t tokens, std::span<const float> x, std::span<float> out) const {
  const std::vector<std::vector<Route>> routes = route(tokens, x);
  FloatBuffer sum(tokens * hidden_);
  std::fill_n(sum.data(), sum.size(), 0.0f);
  // In the order of the experts, so that a token's sum does not depend on who shares its batch.
  for (std::size_t e = 0; e < experts_.size(); ++e) {
    const std::vector<Route>& visitors = routes[e];
    if (visitors.empty()) continue;
    FloatBuffer rows(visitors.size() * hidden_);
    for (std::size_t i = 0; i < visitors.size(); ++i)
      std::copy_n(x.data() + visitors[i].token * hidden_, hidden_, rows.data() + i * hidden_);
    experts_[e].forward(visitors.size(), rows, rows);
    for (std::size_t i = 0; i < visitors.size(); ++i)
      for (std::size_t j = 0; j < hidden_; ++j)
        sum.data()[visitors[i].token * hidden_ + j] += visitors[i].weight * rows.data()[i * hidden_ + j];
  }
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
