#pragma once
// The table by which a sentencepiece model normalizes characters (precompiled_charsmap): a double-array trie
// (Yata's darts-clone), then the replacements, each ended by a zero byte.
#include <cstddef>
#include <string>
#include <string_view>

namespace assay {

/// Proves that looking up any text in the table stays inside it, and that no text grows more than
/// sixteenfold; returns how many times a text may grow. Throws Error.
std::size_t check_character_map(std::string_view bytes, const std::string& origin);

}  // namespace assay
