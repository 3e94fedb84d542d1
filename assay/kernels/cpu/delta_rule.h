#pragma once
#include <span>

#include "assay/kernels/ops.h"

namespace assay::cpu {

/// Ops::causal_convolution, Ops::delta_gates and Ops::delta_rule in f32; chunks and heads spread over the
/// threads.
void causal_convolution(std::span<const LayerChunk> chunks, const DeltaShape& shape,
                        std::span<const float> taps, const Rows& x, const Rows& out);
void delta_gates(const Rows& beta, const Rows& decay, std::span<const float> rate,
                 std::span<const float> bias);
void delta_rule(std::span<const LayerChunk> chunks, const DeltaShape& shape, const Rows& mixed,
                const Rows& beta, const Rows& decay, const Rows& out);

}  // namespace assay::cpu
