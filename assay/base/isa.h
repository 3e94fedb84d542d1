#pragma once
// Which instruction sets of the CPU the program uses, as levels: each holds those of its kind before it.
#include <cstdint>
#include <string_view>
#include <vector>

namespace assay {

enum class Isa : std::uint8_t {
  baseline,  // what every CPU of its kind has
  avx2,      // x86-64-v3: AVX2, FMA, BMI2
  avx512,    // x86-64-v4: AVX-512 F, BW, CD, DQ, VL
  neon       // 64-bit ARM: Advanced SIMD
};

/// Does a machine of this level run what needs that one?
constexpr bool includes(Isa level, Isa needed) {
  return needed == Isa::baseline || needed == level || (level == Isa::avx512 && needed == Isa::avx2);
}

std::string_view isa_name(Isa isa);
/// Throws Error: a word that names none.
Isa parse_isa(std::string_view name);

/// The levels that this machine runs, the lowest first.
const std::vector<Isa>& isas_of_machine();

/// The level in use: the machine's highest, or what limit_isa() said.
Isa isa_in_use();

/// Of the whole process, for main and for tests, before any work. Throws Error where the machine lacks it.
void limit_isa(Isa isa);

}  // namespace assay
