#include "assay/formats/kh_codes.h"

#include "assay/base/bit_stream.h"
#include "assay/formats/multiversion.h"

namespace assay::kh {
namespace {

ASSAY_LOOP void pack_nibbles_loop(const Code* codes, std::byte* bytes) {
  for (std::size_t b = 0; b < kRun / 2; ++b)
    bytes[b] = static_cast<std::byte>((codes[2 * b] & 15) | (codes[2 * b + 1] << 4));
}

ASSAY_LOOP void unpack_nibbles_loop(const std::byte* bytes, Code* codes) {
  for (std::size_t b = 0; b < kRun / 2; ++b) {
    codes[2 * b] = static_cast<Code>(bytes[b] & std::byte{15});
    codes[2 * b + 1] = static_cast<Code>(bytes[b] >> 4);
  }
}

}  // namespace

void pack_nibbles(const Code* codes, std::byte* bytes) {
  Multiversion<pack_nibbles_loop>()(codes, bytes);
}
void unpack_nibbles(const std::byte* bytes, Code* codes) {
  Multiversion<unpack_nibbles_loop>()(bytes, codes);
}

void pack_stream3(const Code* codes, std::byte* bytes) {
  pack_bits({codes, kRun}, 3, {bytes, 12});
}
void unpack_stream3(const std::byte* bytes, Code* codes) {
  unpack_bits({bytes, 12}, 3, {codes, kRun});
}

void pack_planes3(const Code* codes, std::byte* bytes) {
  Code low[kRun], high[kRun];
  for (std::size_t i = 0; i < kRun; ++i) {
    low[i] = codes[i] & 3;
    high[i] = codes[i] >> 2;
  }
  pack_bits(low, 2, {bytes, 8});
  pack_bits(high, 1, {bytes + 8, 4});
}

void unpack_planes3(const std::byte* bytes, Code* codes) {
  Code low[kRun], high[kRun];
  unpack_bits({bytes, 8}, 2, low);
  unpack_bits({bytes + 8, 4}, 1, high);
  for (std::size_t i = 0; i < kRun; ++i) codes[i] = low[i] | (high[i] << 2);
}

}  // namespace assay::kh
