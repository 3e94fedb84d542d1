#pragma once
// MLX affine groups: `bits` per code, groups of 32, 64 or 128 weights of one row, w = q * scale + bias with a
// scale of either sign. Planes: weight (U32, each row one LSB-first stream), scales and biases of the
// source's dtype.
#include "assay/formats/format.h"

namespace assay {

struct MlxAffineOptions {
  int bits = 4;                    // 1, 2, 3, 4, 5, 6, 8
  std::size_t group = 64;          // 32, 64, 128
  DType parameters = DType::BF16;  // or F16, F32
};

FormatPtr mlx_affine_format(const MlxAffineOptions& options);

/// All 63, widths first: "mlx4-g64-bf16".
std::vector<FormatPtr> mlx_affine_formats();

}  // namespace assay
