#include "assay/base/text_search.h"

#include <cstring>

namespace assay {

std::size_t find_linearly(std::string_view text, std::string_view pattern, std::size_t from) {
  if (pattern.size() <= 32) return text.find(pattern, from);  // linear enough
  if (from > text.size()) return std::string_view::npos;
  const std::string_view rest = text.substr(from);
  // glibc searches by the two-way algorithm (Crochemore and Perrin 1991).
  const void* found = ::memmem(rest.data(), rest.size(), pattern.data(), pattern.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace assay
