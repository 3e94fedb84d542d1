#include "assay/tokenizer/token_ids.h"

#include <algorithm>
#include <charconv>

#include "assay/base/error.h"
#include "assay/base/printable.h"

namespace assay {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(kBlanks), text.size());
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

}  // namespace

std::vector<TokenId> parse_token_ids(std::string_view text, const std::string& origin) {
  text = trimmed(text);
  if (text.starts_with('[') && text.ends_with(']')) text = trimmed(text.substr(1, text.size() - 2));
  std::vector<TokenId> ids;
  while (!text.empty()) {
    const std::size_t length = std::min(text.find_first_of(", \t\r\n"), text.size());
    TokenId id = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + length, id);
    if (problem != std::errc() || end != text.data() + length || id < 0)
      fail("{}: \"{}\" is no token id; 1,2,3 or [1,2,3] expected", origin,
           printable(text.substr(0, std::min<std::size_t>(length, 20))));
    ids.push_back(id);
    text = trimmed(text.substr(length));
    if (!text.starts_with(',')) continue;
    text = trimmed(text.substr(1));
    if (text.empty()) fail("{}: a token id is missing behind the last comma", origin);
  }
  if (ids.empty()) fail("{}: no token ids; 1,2,3 or [1,2,3] expected", origin);
  return ids;
}

}  // namespace assay
