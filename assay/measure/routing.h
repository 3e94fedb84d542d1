#pragma once
// Which experts a text visits: how often the router of each layer chose each of them.
#include <map>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/runtime/session.h"

namespace assay {

struct RoutingCounts {
  std::size_t tokens = 0;
  std::map<int, std::vector<std::uint64_t>> visits;  // layer -> of each expert

  /// The most visited experts of a layer that together get at least `share` of its visits: a flag an expert.
  std::vector<bool> hottest(int layer, double share) const;
  OrderedJson to_json() const;
};

/// Runs the checkpoint over the text in disjoint windows. Throws Error for a model without experts.
RoutingCounts count_visits(const CheckpointPtr& checkpoint, std::span<const TokenId> tokens,
                           const Context& context = {}, std::size_t window = 512);

}  // namespace assay
