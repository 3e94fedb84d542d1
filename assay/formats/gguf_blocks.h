#pragma once
// llama.cpp's blocks of 32 weights of one row, bytes verbatim. Nibbles: byte j holds code j (low) and j + 16
// (high). Published fits run in f32 with the reciprocal of the unrounded scale. Scales may have either sign.
#include "assay/formats/format.h"

namespace assay {

FormatPtr q8_0_format();  // f16 d, 32 i8: w = q * d
FormatPtr q4_0_format();  // f16 d, nibbles: w = (q - 8) * d
FormatPtr q4_1_format();  // f16 d, f16 m, nibbles: w = q * d + m

}  // namespace assay
