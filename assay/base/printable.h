#pragma once
// Text from outside (files, paths, models) made fit for a terminal: nothing in it moves the cursor, changes
// colours, turns the reading direction or starts a line of its own.
#include <string>
#include <string_view>

namespace assay {

/// On one line: control and format characters (newline, ESC, C1, bidirectional controls) and bytes that are
/// no UTF-8 as \n, \t, \xNN or \u{NNNN}; everything else as it is.
std::string printable(std::string_view text);

/// The same for text that is meant to have lines: newlines and tabs stay.
std::string printable_lines(std::string_view text);

}  // namespace assay
