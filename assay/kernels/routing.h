#pragma once
#include <span>

#include "assay/kernels/ops.h"

namespace assay {

/// Ops::route of one token in a backend's precision: `probabilities` of all experts give its visits, as many
/// as are active.
void choose_experts(std::span<const float> probabilities, const RouteOptions& options,
                    std::span<Visit> visits);
void choose_experts(std::span<const double> probabilities, const RouteOptions& options,
                    std::span<Visit> visits);

}  // namespace assay
