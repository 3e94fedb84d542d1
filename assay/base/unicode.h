#pragma once
// Unicode properties that tokenizers and templates ask about.
namespace assay {

bool is_white_space(char32_t code);  // White_Space
bool is_word_character(
    char32_t code);  // letters, marks, decimal digits, connector punctuation, joiners (UTS #18)

}  // namespace assay
