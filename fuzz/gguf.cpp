// A whole GGUF file: container, metadata, tokenizer, and every tensor that is small enough decoded.
#include <cstdint>

#include "assay/base/error.h"
#include "assay/storage/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint64_t kDecodedElements = 1 << 16;
  try {
    const auto model = assay::read_gguf(std::as_bytes(std::span(data, size)), "x.gguf", nullptr);
    for (const assay::Tensor& tensor : model->tensors)
      if (tensor.elements() <= kDecodedElements) assay::decode_all(tensor);
  } catch (const assay::Error&) {  // what a bad file must lead to
  }
  return 0;
}
