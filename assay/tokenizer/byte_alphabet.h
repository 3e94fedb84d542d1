#pragma once
// The printable alphabet in which byte-level BPE files spell bytes (GPT-2's table): bytes 33-126, 161-172 and
// 174-255 stand for themselves, the other 68, in order, for U+0100 onward (space is U+0120, newline U+010A).
#include <optional>
#include <string>
#include <string_view>

namespace assay {

/// The spelling of one byte, in UTF-8.
const std::string& spell_byte(unsigned char byte);

/// The bytes that a spelling stands for, or nothing where it holds a character outside the alphabet.
std::optional<std::string> unspell_bytes(std::string_view spelling);

}  // namespace assay
