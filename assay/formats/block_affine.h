#pragma once
// block-affine(bits, group): runs of 16 to 128 weights of one row, each with an f16 scale > 0, an f16 bias
// and 2 to 4 bits a weight: w = q * scale + bias. The fit is KHQ4's, minimum to maximum; khq4 is (4, 32) and
// khw3 (3, 32). Codes are one LSB-first stream, or (3 bits) the low two bits of all codes and then the high
// ones; the name says which.
#include "assay/formats/format.h"

namespace assay {

enum class CodeOrder { stream, planes };

/// bits 2 to 4; group 16, 32, 64 or 128; planes with 3 bits only.
FormatPtr block_affine_format(int bits, std::size_t group, CodeOrder order);

/// All of them: "block-affine3-g64-stream", "block-affine3-g64-planes", ...
std::vector<FormatPtr> block_affine_formats();

}  // namespace assay
