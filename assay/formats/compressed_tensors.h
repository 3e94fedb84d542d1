#pragma once
// Integers as compressed-tensors (vLLM's llm-compressor) packs them, read only: w = (q - z) * s, 2, 4 or 8
// bits, groups of 32, 64 or 128 columns or the whole row ("channel"), symmetric (z the middle) or with zero
// points. Codes and zero points are stored with 2^(b-1) added, which cancels. In a Hugging Face folder
// (format "pack-quantized", docs/formats.md):
//   weight_packed      I32 [N, ceil(K*b/32)]  codes packed along K, lowest bits first
//   weight_scale       F16/BF16/F32 [N, G]
//   weight_zero_point  I32 [ceil(N*b/32), G]  packed along N; where the scheme is not symmetric
//   weight_shape       I64 [2]                N, K
//   weight_g_idx       I32 [K]                group of each column, with act-order (all -1: none)
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// "ct4-g128-bf16", "ct4-zp-g128-f16", "ct8-row-f32", ...
std::vector<FormatPtr> compressed_tensors_formats();

}  // namespace assay
