#pragma once
// SplitMix64 (Steele, Lea and Flood 2014): spreads 64 bits over 64 bits.
#include <cstdint>

namespace assay {

constexpr std::uint64_t split_mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace assay
