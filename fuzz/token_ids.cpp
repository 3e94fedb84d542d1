// Lists of token ids, as --ids takes them.
#include <cstdint>
#include <string_view>

#include "assay/base/error.h"
#include "assay/tokenizer/token_ids.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    for (const assay::TokenId id :
         assay::parse_token_ids({reinterpret_cast<const char*>(data), size}, "fuzz"))
      if (id < 0) __builtin_trap();
  } catch (const assay::Error&) {
  }
  return 0;
}
