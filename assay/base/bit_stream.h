#pragma once
// LSB-first bit streams: element i occupies bits [i*bits, (i+1)*bits), bit k being bit k%8 of byte k/8.
#include <cstddef>
#include <cstdint>
#include <span>

#include "assay/base/bytes.h"

namespace assay {

/// Packs the low `bits` (1..8) of each code; bytes.size() == ceil(codes.size()*bits/8). Spare bits are zero.
void pack_bits(std::span<const std::int32_t> codes, int bits, MutableBytes bytes);

/// The reverse; reads exactly ceil(codes.size()*bits/8) bytes.
void unpack_bits(Bytes bytes, int bits, std::span<std::int32_t> codes);

}  // namespace assay
