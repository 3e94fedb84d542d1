#pragma once
// Lossless change of format: the same weights under other bytes. Nothing is assumed lossless: every unit is
// decoded in both formats and compared, and one that differs refuses the tensor.
#include <span>
#include <string>
#include <vector>

#include "assay/formats/format.h"
#include "assay/storage/tensor.h"
#include "assay/storage/writer.h"

namespace assay {

/// Re-expresses units of `from` in `to`: the same grid, shifted or mirrored codes (docs/formats.md, "Lossless
/// changes"), or the same float. False, with the reason, when any unit decodes to other values. codes_to
/// holds as many codes as codes_from.
bool transcode_units(const Format& from, std::span<const Params> params_from,
                     std::span<const Code> codes_from, const Format& to, std::span<Params> params_to,
                     std::span<Code> codes_to, std::string* why);

/// Can the whole tensor be stored as `to` without loss? Reads it all. Nothing when it can, else the reason.
std::optional<std::string> transcode_misfit(const Tensor& tensor, const Format& to);

/// The format in which `container` holds this tensor losslessly: its own where allowed, else the first of the
/// table with the same bits that passes transcode_misfit. Throws Error naming the tensor and the reason when
/// there is none.
FormatPtr lossless_format(const Tensor& tensor, Container container, const std::string& origin);

}  // namespace assay
