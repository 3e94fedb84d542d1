#pragma once
#include <span>

#include "assay/kernels/ops.h"

namespace assay::cpu {

/// Ops::append and Ops::attention in f32: products through BLAS, blocks of queries spread over the threads.
void append(std::span<const LayerChunk> chunks, const Rows& keys, const Rows& values);
void attention(std::span<const LayerChunk> chunks, const AttentionShape& shape, const Rows& queries,
               const Rows& out);

}  // namespace assay::cpu
