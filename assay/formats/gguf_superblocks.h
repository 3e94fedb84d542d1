#pragma once
// llama.cpp's k-quants and non-linear 4-bit types, to be read: blocks of 256 weights of one row (IQ4_NL: 32),
// whose sub-blocks of 16 or 32 have small integer scales (and minima) of their own in units of the block's.
// w = (d * s) * q - dmin * m in f32, in this order. A code carries q, s and m of its weight in its bytes.
// Layouts: the dequantiser of PyPI's gguf package.
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs.
std::vector<FormatPtr> gguf_superblock_formats();

}  // namespace assay
