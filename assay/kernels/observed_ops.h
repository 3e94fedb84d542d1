#pragma once
// A backend that shows what is computed: calibration, sensitivities, experiments and whoever compares routers
// look through it, and neither a matrix nor a model needs to know.
#include <functional>
#include <memory>
#include <span>

#include "assay/kernels/ops.h"

namespace assay {

/// Told, before they multiply, which matrices share which input x [T, K].
using LinearObserver = std::function<void(std::span<const Linear* const> group, const Rows& x)>;

/// Told the choice of each token of a pass in turn: probabilities of all experts, and who is visited.
using RouteObserver =
    std::function<void(int layer, std::span<const float> probabilities, std::span<const Visit> visits)>;

/// Who looks on; an empty one does not.
struct Observer {
  LinearObserver linear = {};
  RouteObserver route = {};
};

/// `inner`, which must outlive it, with somebody who looks on. Models loaded with it must not outlive it.
std::unique_ptr<const Ops> observed_ops(const Ops& inner, Observer observer);

}  // namespace assay
