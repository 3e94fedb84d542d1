#pragma once
// llama.cpp's k-quants and non-linear 4-bit types: superblocks of 256 weights of one row (IQ4_NL: 32), whose
// sub-blocks of 16 or 32 have small integers for scales (and minima), in units of two f16 numbers d and dmin
// of the superblock: w = (d * s) * q - dmin * m in f32, in this order.
//
// A unit is a sub-block: scale = d * s, bias = -(dmin * m), and Params::sub says what of. A superblock is a
// record of 8 or 16 units. Calibration may move s and m of a unit; d and dmin stay as reference() chose them
// (store_beside). Codes of the non-linear types are values of their table.
//
// Layouts: the dequantiser of PyPI's gguf package. What is written is Assay's own choice (docs/formats.md).
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs.
std::vector<FormatPtr> gguf_superblock_formats();

}  // namespace assay
