#pragma once
// The first occurrence of a text in another in linear time: std::string::find compares anew at every place,
// and needs minutes for a megabyte of "a" and a pattern like it.
#include <cstddef>
#include <string_view>

namespace assay {

/// As text.find(pattern, from).
std::size_t find_linearly(std::string_view text, std::string_view pattern, std::size_t from = 0);

}  // namespace assay
