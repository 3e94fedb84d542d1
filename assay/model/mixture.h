#pragma once
// Mixture of experts (FORMATS.md section 7): a router's softmax over all experts, of which a token visits the
// most probable few, weighted; Qwen3-Next and Qwen3.5 add a shared expert behind a gate of its own.
#include <memory>
#include <vector>

#include "assay/model/block.h"
#include "assay/model/config.h"
#include "assay/model/mlp.h"
#include "assay/model/weights.h"

namespace assay {

/// One expert that a token visits, and how much it counts.
struct Visit {
  std::uint32_t expert;
  float weight;
};

/// The `active` experts of one token by falling probability (of equals the first), from the router's logits,
/// which become probabilities. `normalise`: weights sum to one.
std::vector<Visit> choose_experts(std::span<float> logits, std::size_t active, bool normalise);

class MixtureOfExperts final : public FeedForward {
 public:
  /// Takes the tensors of `module` ("model.layers.0.mlp"): experts each for itself, fused, or stacked.
  MixtureOfExperts(const ModelConfig& config, WeightLoader& loader, const std::string& module);

  void forward(std::size_t tokens, std::span<const float> x, std::span<float> out) const override;
  double flops_per_token() const override;

 private:
  /// Which tokens visit each expert: one list an expert.
  struct Route {
    std::size_t token;
    float weight;
  };
  std::vector<std::vector<Route>> route(std::size_t tokens, std::span<const float> x) const;
  void add_shared(std::size_t tokens, std::span<const float> x, std::span<float> out) const;

  std::size_t hidden_;
  MixtureConfig config_;
  Projection router_;
  std::vector<DenseMlp> experts_;
  std::unique_ptr<DenseMlp> shared_;  // null: none
  Projection shared_gate_;
};

}  // namespace assay
