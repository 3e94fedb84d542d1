#pragma once
// Unquantised weights: IEEE binary32 and binary16, bfloat16, and the same f16 bytes as lattice's KHF1 files
// hold them.
#include "assay/formats/format.h"

namespace assay {

FormatPtr f32_format();
FormatPtr f16_format();
FormatPtr bf16_format();
FormatPtr khf1_format();

}  // namespace assay
