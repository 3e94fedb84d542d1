#pragma once
// Rotary position embedding, half-split: dimension j of a head turns with dimension j + d/2
// (docs/formats.md, "RoPE").
#include <optional>
#include <vector>

#include "assay/model/config.h"

namespace assay {

/// Angular frequency of each pair, head_dim / 2 of them, Llama-3 scaling applied; in f64.
std::vector<double> rope_frequencies(int head_dim, double theta, const std::optional<RopeScaling>& scaling);

}  // namespace assay
