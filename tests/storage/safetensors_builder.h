#pragma once
// Safetensors files made by hand, well-formed or not, for the readers' tests.
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "assay/base/dtype.h"
#include "assay/base/json.h"
#include "tests/support.h"

namespace assay::test {

struct BuiltArray {
  std::string name;
  DType dtype = DType::F32;
  std::vector<std::uint64_t> shape;
  std::string bytes;  // empty: zeros of the right length
};

inline std::string length_prefix(std::uint64_t length) {
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}

/// A file of this header text and this data, nothing checked.
inline std::string raw_safetensors(const std::string& header, const std::string& data) {
  return length_prefix(header.size()) + header + data;
}

/// A well-formed file. `padding` spaces end the header, so that data can be made to lie at odd addresses.
inline std::string build_safetensors(const std::vector<BuiltArray>& arrays, std::size_t padding = 0) {
  OrderedJson header = OrderedJson::object();
  std::string data;
  for (const BuiltArray& array : arrays) {
    std::uint64_t bytes = dtype_size(array.dtype);
    for (const std::uint64_t dim : array.shape) bytes *= dim;
    const std::size_t begin = data.size();
    data += array.bytes.empty() ? std::string(bytes, '\0') : array.bytes;
    header[array.name] = {
        {"dtype", dtype_name(array.dtype)}, {"shape", array.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return raw_safetensors(header.dump() + std::string(padding, ' '), data);
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace assay::test
