#pragma once
// The three ways in which KH blocks hold 32 codes. Pointers to 32 codes and 16 or 12 bytes.
#include <cstddef>
#include <cstdint>

#include "assay/base/half.h"
#include "assay/formats/format.h"

namespace assay::kh {

constexpr std::size_t kRun = 32;

/// Byte b: code 2b in the low nibble, code 2b + 1 in the high one.
void pack_nibbles(const Code* codes, std::byte* bytes);
void unpack_nibbles(const std::byte* bytes, Code* codes);

/// One LSB-first stream of 3-bit codes.
void pack_stream3(const Code* codes, std::byte* bytes);
void unpack_stream3(const std::byte* bytes, Code* codes);

/// Bytes 0..7: the low two bits of four codes each; bytes 8..11: the high bit of eight codes each.
void pack_planes3(const Code* codes, std::byte* bytes);
void unpack_planes3(const std::byte* bytes, Code* codes);

/// A scale that f16 would make zero becomes 1 before codes are made, so that all codes collapse to one value.
/// (One too large for f16 is left alone: storing it is an error.)
inline float usable_scale(float scale) {
  return scale < 1.0f && !(through_f16(scale) > 0.0f) ? 1.0f : scale;
}

}  // namespace assay::kh
