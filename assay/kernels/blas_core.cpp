#include "assay/kernels/blas_core.h"

#include <cblas.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace assay {
namespace {

constexpr const char* kVariable = "OPENBLAS_CORETYPE";
constexpr std::array<std::string_view, 6> kSseCores = {"Prescott",   "Core2",   "Penryn",
                                                       "Dunnington", "Nehalem", "Northwood"};

}  // namespace

std::string blas_core() {
  return openblas_get_corename();
}

std::optional<std::string> better_blas_core() {
#if defined(__x86_64__)
  if (std::ranges::count(kSseCores, blas_core()) == 0) return std::nullopt;
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return "SkylakeX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "Haswell";
#endif
  return std::nullopt;
}

void restart_with_better_blas(char** argv) {
  if (std::getenv(kVariable) != nullptr) return;
  const auto core = better_blas_core();
  if (!core || ::setenv(kVariable, core->c_str(), 0) != 0) return;
  std::error_code problem;  // by its own path: /proc/self/exe would leave "exe" as the process's name
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (!problem) ::execv(program.c_str(), argv);
}

}  // namespace assay
