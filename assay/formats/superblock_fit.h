#pragma once
// Scale and minimum of one sub-block before they become small integers (docs/formats.md, "GGUF superblocks"):
// from the extremes to what least squares makes of the nearest codes, three times over. No step raises the
// squared error.
#include <span>

#include "assay/formats/format.h"

namespace assay {

/// Weights are about q * scale - minimum. Sub-blocks are of a multiple of 8 weights.
struct SubBlockFit {
  double scale = 0, minimum = 0;
};

/// Codes 0..last; the minimum is not negative. A sub-block of equal weights below 0 has a scale of 0.
SubBlockFit fit_with_minimum(std::span<const float> weights, Code last);
/// Codes first..last of both signs, no minimum. A sub-block of zeros has a scale of 0.
SubBlockFit fit_symmetric(std::span<const float> weights, Code first, Code last);
/// Ascending codes, the first of which is the farthest from 0; no minimum.
SubBlockFit fit_levels(std::span<const float> weights, std::span<const Code> levels);

/// Format::round() among ascending levels: products of level and scale, which are exact, are compared.
void round_to_levels(std::span<const Code> levels, std::span<const Params> params,
                     std::span<const float> values, std::span<Code> codes, std::span<float> out);

}  // namespace assay
