#include "assay/base/bit_stream.h"

#include <cassert>

namespace assay {
namespace {

// Eight codes fill exactly BITS bytes, so whole eights go through one 64-bit word without crossing anything.
template <int BITS>
void pack_eights(const std::int32_t* codes, std::size_t eights, std::byte* bytes) {
  for (std::size_t i = 0; i < eights; ++i, codes += 8, bytes += BITS) {
    std::uint64_t word = 0;
    for (int k = 0; k < 8; ++k)
      word |= (static_cast<std::uint64_t>(codes[k]) & ((1u << BITS) - 1u)) << (BITS * k);
    for (int b = 0; b < BITS; ++b) bytes[b] = static_cast<std::byte>(word >> (8 * b));
  }
}

template <int BITS>
void unpack_eights(const std::byte* bytes, std::size_t eights, std::int32_t* codes) {
  for (std::size_t i = 0; i < eights; ++i, codes += 8, bytes += BITS) {
    std::uint64_t word = 0;
    for (int b = 0; b < BITS; ++b) word |= static_cast<std::uint64_t>(bytes[b]) << (8 * b);
    for (int k = 0; k < 8; ++k)
      codes[k] = static_cast<std::int32_t>((word >> (BITS * k)) & ((1u << BITS) - 1u));
  }
}

template <int BITS>
void pack_all(std::span<const std::int32_t> codes, MutableBytes bytes) {
  const std::size_t eights = codes.size() / 8;
  pack_eights<BITS>(codes.data(), eights, bytes.data());
  const auto rest = codes.subspan(eights * 8);
  std::uint64_t word = 0;
  for (std::size_t k = 0; k < rest.size(); ++k)
    word |= (static_cast<std::uint64_t>(rest[k]) & ((1u << BITS) - 1u)) << (BITS * k);
  for (std::size_t b = eights * BITS; b < bytes.size(); ++b, word >>= 8)
    bytes[b] = static_cast<std::byte>(word);
}

template <int BITS>
void unpack_all(Bytes bytes, std::span<std::int32_t> codes) {
  const std::size_t eights = codes.size() / 8;
  unpack_eights<BITS>(bytes.data(), eights, codes.data());
  const auto rest = codes.subspan(eights * 8);
  std::uint64_t word = 0;
  for (std::size_t b = eights * BITS, shift = 0; b < bytes.size(); ++b, shift += 8)
    word |= static_cast<std::uint64_t>(bytes[b]) << shift;
  for (std::size_t k = 0; k < rest.size(); ++k)
    rest[k] = static_cast<std::int32_t>((word >> (BITS * k)) & ((1u << BITS) - 1u));
}

template <template <int> class Dispatch, class... Args>
void by_width(int bits, Args&&... args) {
  switch (bits) {
    case 1:
      return Dispatch<1>::run(args...);
    case 2:
      return Dispatch<2>::run(args...);
    case 3:
      return Dispatch<3>::run(args...);
    case 4:
      return Dispatch<4>::run(args...);
    case 5:
      return Dispatch<5>::run(args...);
    case 6:
      return Dispatch<6>::run(args...);
    case 7:
      return Dispatch<7>::run(args...);
    case 8:
      return Dispatch<8>::run(args...);
    default:
      assert(false && "bits per code must be 1..8");
  }
}

template <int BITS>
struct Pack {
  static void run(std::span<const std::int32_t> codes, MutableBytes bytes) { pack_all<BITS>(codes, bytes); }
};
template <int BITS>
struct Unpack {
  static void run(Bytes bytes, std::span<std::int32_t> codes) { unpack_all<BITS>(bytes, codes); }
};

}  // namespace

void pack_bits(std::span<const std::int32_t> codes, int bits, MutableBytes bytes) {
  assert(bytes.size() == (codes.size() * static_cast<std::size_t>(bits) + 7) / 8);
  by_width<Pack>(bits, codes, bytes);
}

void unpack_bits(Bytes bytes, int bits, std::span<std::int32_t> codes) {
  assert(bytes.size() == (codes.size() * static_cast<std::size_t>(bits) + 7) / 8);
  by_width<Unpack>(bits, bytes, codes);
}

}  // namespace assay
