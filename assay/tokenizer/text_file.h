#pragma once
// Text that a user hands over as a file. What is something else (an archive, UTF-16, weights) is refused: a
// tokenizer would turn it into ids without a word.
#include <string>
#include <string_view>
#include <vector>

namespace assay {

struct TextFile {
  std::string text;    // without a byte-order mark
  std::string sha256;  // of the file as it lies there
  std::vector<std::string>
      notes;  // what results on this text must say: a mark dropped, bytes that are no UTF-8
};

/// At most 4 GiB. Throws Error for a missing or empty file and for what is no text; the latter is read all
/// the same, and said, when the user insists (--any-text).
TextFile read_text_file(const std::string& path, bool insist = false);

/// What bytes that are no text seem to be ("gzip data", "UTF-16 text"); "" for text. A small share of control
/// bytes (below 1 %) or of invalid UTF-8 (below .5 %, or three bytes) is still text.
std::string describe_non_text(std::string_view bytes);

}  // namespace assay
