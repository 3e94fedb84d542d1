#pragma once
// lattice's affine blocks of 32 consecutive weights of the flattened tensor: f16 scale > 0, f16 bias, codes.
// w = q * scale + bias. KHQ4 (20 bytes, nibbles), KHW3 (16 bytes, one stream of 3-bit codes), KHQ3 (16 bytes,
// the low two bits of all codes, then the high bits).
#include "assay/formats/format.h"

namespace assay {

FormatPtr khq4_format();            // minimum to maximum
FormatPtr khq4_symmetric_format();  // bias = -8 * scale, 15 of 16 levels: for rotated models. Same bytes
FormatPtr khw3_format();
FormatPtr khq3_format();
FormatPtr khq3_symmetric_format();  // bias = -4 * scale
/// Version 1 of KHQ4: 18 bytes without bias, w = (q - 8) * scale. Read only.
FormatPtr khq4_v1_format();

}  // namespace assay
