#pragma once
// Little-endian, alignment-free access to bytes of a file. Offsets are proven in bounds by the caller.
#include <bit>
#include <cstddef>
#include <cstring>
#include <span>

namespace assay {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

static_assert(std::endian::native == std::endian::little, "Assay's file formats are little-endian");

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

}  // namespace assay
