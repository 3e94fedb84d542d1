#include "assay/base/isa.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::array<std::string_view, 3> kIsaNames = {"baseline", "avx2", "avx512"};

std::vector<Isa> detect() {
  std::vector<Isa> levels = {Isa::baseline};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi2"))
    return levels;
  levels.push_back(Isa::avx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    levels.push_back(Isa::avx512);
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
  if (isa > isas_of_machine().back())
    fail("this machine has no {}; its highest instruction set is {}", isa_name(isa),
         isa_name(isas_of_machine().back()));
  in_use().store(isa, std::memory_order_relaxed);
}

}  // namespace assay
