#pragma once
// Token ids as a user writes them.
#include <string>
#include <string_view>
#include <vector>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// "1,2,3", "1 2 3" (any white space) or the JSON list "[1, 2, 3]". Throws Error, which `origin` opens, for
/// anything else, an empty list, and numbers that are no ids.
std::vector<TokenId> parse_token_ids(std::string_view text, const std::string& origin);

}  // namespace assay
