#pragma once
// tokenizer.json holds patterns for Oniguruma. PCRE2 reads most of them alike, a few alike in spelling only.
// This pass rewrites the known differences and refuses whatever is not known to mean the same in both.
#include <string>

namespace assay {

/// The pattern for PCRE2 in UTF and UCP mode. Differences that are rewritten:
///   \s, \S   Oniguruma: White_Space. PCRE2 counts U+180E too, so \p{White_Space}, \P{White_Space}.
/// Throws Error, quoting the construct, for anything outside literals, classes, \p, groups, look-around,
/// alternation, (?i:...) over ASCII, and quantifiers.
std::string translate_oniguruma(const std::string& pattern, const std::string& origin);

}  // namespace assay
