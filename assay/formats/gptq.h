#pragma once
// GPTQ as AutoGPTQ and GPTQModel store it, read only: w = (q - z) * s, b bits in 2, 3, 4, 8, groups of 32, 64
// or 128 columns or the whole row. In a Hugging Face folder (docs/formats.md):
//   qweight  I32 [K*b/32, N]  codes packed along K, lowest bits first: rows of this format, transposed by
//   words scales   F16/BF16 [G, N] qzeros   I32 [G, N*b/32]  zero points packed along N; version 1 stores
//   them minus one (taken to b bits),
//                             version 2 ("checkpoint_format": "gptq_v2") as they are
//   g_idx    I32 [K]          the group of each column; with act-order groups do not lie together
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// "gptq4-g128-f16", "gptq4-v2-g128-bf16", "gptq8-row-f16", ...
std::vector<FormatPtr> gptq_formats();

}  // namespace assay
