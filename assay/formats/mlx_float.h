#pragma once
// MLX's floating-point groups, decode only: small floats times a scale per group of one row.
//   mxfp4  E2M1 codes, groups of 32, power-of-two scale (E8M0)       OCP Microscaling
//   mxfp8  E4M3 codes, groups of 32, power-of-two scale (E8M0)
//   nvfp4  E2M1 codes, groups of 16, E4M3 scale, optional f32 scale of the whole tensor
// Planes: weight (U32), scales (U8). An E8M0 scale of 255 and any E4M3 NaN are illegal.
#include "assay/formats/format.h"

namespace assay {

FormatPtr mxfp4_format();
FormatPtr mxfp8_format();
FormatPtr nvfp4_format();

/// nvfp4 of a tensor with a global scale G, finite: every decoded weight is multiplied by G / (448 * 6).
FormatPtr nvfp4_with_global_scale(float global_scale);

}  // namespace assay
