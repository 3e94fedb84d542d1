#pragma once
// The one table of weight formats. Adding a format is one file and one row in table.cpp.
#include <string_view>
#include <vector>

#include "assay/formats/format.h"

namespace assay {

/// Every format, in the order `assay formats` prints them.
const std::vector<FormatPtr>& all_formats();

/// The format of exactly this name, or null.
FormatPtr find_format(std::string_view name);

/// As typed by a user: an exact name, or a family name whose parameter type follows the source ("mlx4-g64"
/// with a BF16 source is "mlx4-g64-bf16"). Throws Error listing the close names when there is none.
FormatPtr resolve_format(std::string_view name, DType source);

}  // namespace assay
