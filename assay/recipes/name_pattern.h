#pragma once
// Patterns over tensor names.
#include <string_view>

namespace assay {

/// Does the whole name match? * stands for any run of characters, everything else for itself. Linear in both.
bool matches_name_pattern(std::string_view pattern, std::string_view name);

}  // namespace assay
