#pragma once
// Lattice files and directories made by hand, right or wrong on purpose.
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support.h"

namespace assay::test {

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// A file with this header, nothing checked.
inline std::string lattice_bytes(const std::string& magic, std::uint32_t version, std::uint32_t rank,
                                 const std::vector<std::uint64_t>& dims, std::uint64_t count,
                                 const std::string& payload) {
  std::string file = magic + little_endian(version) + little_endian(rank);
  for (const std::uint64_t dim : dims) file += little_endian(dim);
  return file + little_endian(count) + payload;
}

inline std::uint64_t elements_of(const std::vector<std::uint64_t>& dims) {
  std::uint64_t count = 1;
  for (const std::uint64_t dim : dims) count *= dim;
  return count;
}

/// Well-formed files whose weights are all 1: scale 1, bias 1, codes 0.
inline std::string ones_q4(const std::vector<std::uint64_t>& dims) {
  std::string payload;
  for (std::uint64_t block = 0; block < (elements_of(dims) + 31) / 32; ++block)
    payload += from_hex("003c003c") + std::string(16, '\0');
  return lattice_bytes("KHQ4", 2, static_cast<std::uint32_t>(dims.size()), dims, elements_of(dims), payload);
}
inline std::string ones_w3(const std::vector<std::uint64_t>& dims, const std::string& magic = "KHW3") {
  std::string payload;
  for (std::uint64_t block = 0; block < (elements_of(dims) + 31) / 32; ++block)
    payload += from_hex("003c003c") + std::string(12, '\0');
  return lattice_bytes(magic, 1, static_cast<std::uint32_t>(dims.size()), dims, elements_of(dims), payload);
}
inline std::string ones_f16(const std::vector<std::uint64_t>& dims) {
  std::string payload;
  for (std::uint64_t i = 0; i < elements_of(dims); ++i) payload += from_hex("003c");
  return lattice_bytes("KHF1", 1, static_cast<std::uint32_t>(dims.size()), dims, elements_of(dims), payload);
}

}  // namespace assay::test
