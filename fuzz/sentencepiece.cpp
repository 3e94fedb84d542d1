// tokenizer.model: whatever passes the guard is handed to libsentencepiece and used.
#include <cstdint>
#include <string>
#include <vector>

#include "assay/base/error.h"
#include "assay/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string model(reinterpret_cast<const char*>(data), size);
  try {
    const assay::TokenizerPtr tokenizer = assay::load_tokenizer({{"tokenizer.model", model}}, "fuzz");
    const std::vector<assay::TokenId> ids = tokenizer->encode(
        "The cat <s> sat\xE2\x96\x81 on 12 <sep> e\xCC\x81 caf\xC3\xA9 \xEF\xBC\xA1 \xF0\x9F\x98\x80 \xFF "
        "end");
    (void)tokenizer->decode(ids, true);
  } catch (const assay::Error&) {  // what a reader owes to a broken file
  }
  return 0;
}
