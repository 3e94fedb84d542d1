#pragma once
// Do the routers of two mixtures of experts choose alike? Both run over the same tokens; a router that is
// read wrongly chooses at random, and the model still writes fluent text.
#include <cstddef>
#include <cstdint>
#include <map>

#include "assay/base/json.h"
#include "assay/kernels/context.h"
#include "assay/storage/checkpoint.h"

namespace assay {

struct RouterAgreement {
  std::size_t tokens = 0;
  std::map<int, double> layers;  // share of a token's experts that the other model visits too
  double chance = 0;             // of routers that have nothing to do with each other

  double mean() const;
  OrderedJson to_json() const;
};

/// Over `tokens` random ids of the vocabulary, in sequences of 64. Throws Error for models without experts,
/// or of different numbers of layers or experts.
RouterAgreement compare_routing(const CheckpointPtr& model, const CheckpointPtr& original,
                                const Context& context = {}, std::size_t tokens = 256,
                                std::uint64_t seed = 1);

}  // namespace assay
