#include "assay/quantize/expert_coverage.h"

#include <algorithm>
#include <map>

namespace assay {

std::vector<ExpertCoverage> expert_coverage(const Plan& plan, const std::vector<TensorReport>& reports) {
  struct Layer {
    std::vector<std::uint64_t> tokens;  // of each expert
    double needed = 0;
  };
  std::map<int, Layer> layers;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const TensorPlan& planned = plan.tensors[i];
    const bool fused = planned.role == Role::expert_gate_up;
    if ((planned.role != Role::expert_gate && !fused) || reports[i].tokens.empty()) continue;
    Layer& layer = layers[layer_of(planned.source->name)];
    layer.needed = kFewestTokensPerColumn * static_cast<double>(planned.source->shape.back());
    const std::size_t stride = fused ? 2 : 1;  // gate and up of one expert saw the same
    for (std::size_t e = 0; e < reports[i].tokens.size(); e += stride)
      layer.tokens.push_back(reports[i].tokens[e]);
  }
  std::vector<ExpertCoverage> coverage;
  for (auto& [number, layer] : layers) {
    std::ranges::sort(layer.tokens);
    const auto few = [needed = layer.needed](std::uint64_t tokens) {
      return static_cast<double>(tokens) < needed;
    };
    coverage.push_back({number, layer.tokens.size(), layer.tokens.front(),
                        layer.tokens[layer.tokens.size() / 2],
                        static_cast<std::size_t>(std::ranges::count_if(layer.tokens, few)),
                        static_cast<std::size_t>(std::ranges::count(layer.tokens, std::uint64_t{0}))});
  }
  return coverage;
}

OrderedJson coverage_json(const std::vector<ExpertCoverage>& coverage) {
  OrderedJson list = OrderedJson::array();
  for (const ExpertCoverage& layer : coverage)
    list.push_back({{"layer", layer.layer},
                    {"experts", layer.experts},
                    {"least_tokens", layer.least},
                    {"median_tokens", layer.median},
                    {"seldom", layer.seldom},
                    {"unseen", layer.unseen}});
  return list;
}

}  // namespace assay
