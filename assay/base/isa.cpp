#include "assay/base/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::array<std::string_view, 4> kIsaNames = {"baseline", "avx2", "avx512", "neon"};

#if defined(__x86_64__)
/// All that the levels of multiversion.h let the compiler use: a virtual machine may mask any of it.
bool has_avx2_level() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kFma = 1u << 12, kMovbe = 1u << 22, kF16c = 1u << 29, kLzcnt = 1u << 5;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & (kFma | kMovbe | kF16c)) != (kFma | kMovbe | kF16c))
    return false;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d) == 0 || (c & kLzcnt) == 0) return false;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

bool has_avx512_level() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

std::vector<Isa> detect() {
  std::vector<Isa> levels = {Isa::baseline};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (has_avx2_level()) {
    levels.push_back(Isa::avx2);
    if (has_avx512_level()) levels.push_back(Isa::avx512);
  }
#elif defined(__aarch64__)
  levels.push_back(Isa::neon);
#endif
  return levels;
}

std::atomic<Isa>& in_use() {
  static std::atomic<Isa> isa = isas_of_machine().back();
  return isa;
}

}  // namespace

std::string_view isa_name(Isa isa) {
  return kIsaNames[static_cast<std::size_t>(isa)];
}

Isa parse_isa(std::string_view name) {
  const auto found = std::ranges::find(kIsaNames, name);
  if (found == kIsaNames.end())
    fail("no instruction set is called \"{}\"; {} expected", name, fmt::join(kIsaNames, ", "));
  return static_cast<Isa>(found - kIsaNames.begin());
}

const std::vector<Isa>& isas_of_machine() {
  static const std::vector<Isa> levels = detect();
  return levels;
}

Isa isa_in_use() {
  return in_use().load(std::memory_order_relaxed);
}

void limit_isa(Isa isa) {
  if (!includes(isas_of_machine().back(), isa))
    fail("this machine has no {}; its highest instruction set is {}", isa_name(isa),
         isa_name(isas_of_machine().back()));
  in_use().store(isa, std::memory_order_relaxed);
}

}  // namespace assay
