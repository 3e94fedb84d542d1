#pragma once
// FP8 weights with a scale for every block of 128 x 128, as DeepSeek and Qwen publish them, read only:
// w = e4m3(byte) * scale; blocks at the right and lower edges are smaller. In a Hugging Face folder
// ("quant_method": "fp8", "weight_block_size": [128, 128], docs/formats.md):
//   weight            F8_E4M3 [N, K]
//   weight_scale_inv  F32 or BF16 [ceil(N/128), ceil(K/128)]  multiplied with, whatever its name
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// "fp8-b128-f32", "fp8-b128-bf16".
std::vector<FormatPtr> fp8_block_formats();

}  // namespace assay
