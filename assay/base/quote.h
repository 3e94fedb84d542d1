#pragma once
// Text from files inside messages: on one line, printable, and no longer than a line can bear.
#include <string>
#include <string_view>

namespace assay {

/// The text with control characters and bytes outside UTF-8 as \xNN, cut to about `longest` bytes ("..."
/// shows it).
std::string printable(std::string_view text, std::size_t longest);

/// As printable, in double quotes: a token, a pattern, a construct.
std::string quote(std::string_view text);

}  // namespace assay
