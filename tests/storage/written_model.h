#pragma once
// Small models written through the writers, for tests of what is read back.
#include <string>
#include <vector>

#include "assay/storage/writer.h"
#include "tests/storage/generated_tensor.h"

namespace assay::test {

struct NamedTensor {
  std::string name;
  EncodedTensor encoded;
};

inline WriterInput writer_input(const std::vector<NamedTensor>& tensors) {
  WriterInput input;
  for (const NamedTensor& tensor : tensors)
    input.tensors.push_back({tensor.name, tensor.encoded.shape, tensor.encoded.format});
  input.config = {{"model_type", "none"}};
  input.sidecars = {{"tokenizer.json", "{}"}};
  return input;
}

inline Bytes as_plane(const std::string& bytes) {
  return std::as_bytes(std::span(bytes));
}

inline void write_planes(CheckpointWriter& writer, const std::vector<NamedTensor>& tensors) {
  for (std::size_t i = 0; i < tensors.size(); ++i)
    for (std::size_t plane = 0; plane < tensors[i].encoded.planes.size(); ++plane)
      writer.write(i, plane, 0, as_plane(tensors[i].encoded.planes[plane]));
}

/// The whole of it, into an existing empty directory.
inline void write_model(Container container, const std::filesystem::path& directory,
                        const std::vector<NamedTensor>& tensors) {
  const auto writer = make_writer(container, directory, writer_input(tensors));
  write_planes(*writer, tensors);
  writer->finish();
}

}  // namespace assay::test
