#include "assay/calibration/visitors.h"

#include <algorithm>

#include "assay/model/roles.h"

namespace assay {

RouteObserver Visitors::observer() {
  return [this](int layer, std::span<const float>, std::span<const Visit> visits) {
    const std::size_t token = routed_[layer]++;
    for (const Visit& visit : visits) visitors_[{layer, visit.expert}].push_back(token);
  };
}

std::size_t Visitors::among(const std::string& tensor, std::size_t tokens) const {
  const int expert = expert_of(tensor);
  if (expert < 0) return tokens;
  const auto found = visitors_.find({layer_of(tensor), static_cast<std::uint32_t>(expert)});
  if (found == visitors_.end()) return 0;
  return static_cast<std::size_t>(std::ranges::lower_bound(found->second, tokens) - found->second.begin());
}

}  // namespace assay
