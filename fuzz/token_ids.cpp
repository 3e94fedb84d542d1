// Token ids as --ids takes them.
#include "assay/tokenizer/token_ids.h"

#include <fmt/ranges.h>

#include <cstdint>
#include <cstdlib>

#include "assay/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto ids = assay::parse_token_ids({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const assay::TokenId id : ids)
      if (id < 0) std::abort();
    if (assay::parse_token_ids(fmt::format("[{}]", fmt::join(ids, ", ")), "fuzz") != ids) std::abort();
  } catch (const assay::Error&) {  // what a parser owes to anything else
  }
  return 0;
}
