#pragma once
// Strings as Python sees them: sequences of characters, stripped of Unicode white space.
#include <string>
#include <string_view>
#include <vector>

#include "assay/jinja/context.h"

namespace assay::jinja {

/// What str.isspace() says of one character.
bool is_python_space(char32_t code);

std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

/// The characters of a string, each as its bytes; a byte outside valid UTF-8 counts as one.
std::vector<std::string_view> characters(std::string_view text);

/// Resolves the escapes of a Python string literal.
std::string unescape(std::string_view literal, const Context& context);

/// The text as a JSON string, quotes included; characters outside ASCII stay as they are.
std::string json_quote(std::string_view text);

enum class LetterCase { upper, lower, title, capitalized };
/// Python's str.upper() and so on. Letters outside ASCII are refused: their rules are many.
std::string change_case(std::string_view text, LetterCase letter_case, const Context& context);

}  // namespace assay::jinja
