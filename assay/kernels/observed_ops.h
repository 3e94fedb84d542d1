#pragma once
// A backend that shows what multiplies what: calibration, sensitivities and experiments look through it, and
// no matrix needs to know.
#include <functional>
#include <memory>
#include <span>

#include "assay/kernels/ops.h"

namespace assay {

/// Told, before they multiply, which matrices share which input x [T, K].
using LinearObserver = std::function<void(std::span<const Linear* const> group, const Rows& x)>;

/// `inner`, which must outlive it, with somebody who looks on.
std::unique_ptr<const Ops> observed_ops(const Ops& inner, LinearObserver observer);

}  // namespace assay
