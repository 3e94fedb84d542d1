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
constexpr std::array<std::string_view, 3> kAvx512Cores = {"SkylakeX", "Cooperlake", "Sapphirerapids"};

}  // namespace

std::string blas_core() {
  return openblas_get_corename();
}

std::optional<std::string> better_blas_core(Isa highest) {
  const std::string core = blas_core();
  const Isa runs = std::ranges::count(kSseCores, core) > 0      ? Isa::baseline
                   : std::ranges::count(kAvx512Cores, core) > 0 ? Isa::avx512
                                                                : Isa::avx2;
  if (runs == highest || (runs == Isa::avx2 && highest == Isa::avx512)) return std::nullopt;
  switch (highest) {
    case Isa::avx512:
      return "SkylakeX";
    case Isa::avx2:
      return "Haswell";
    case Isa::baseline:
      return "Prescott";
  }
  return std::nullopt;
}

void restart_with_better_blas(char** argv, Isa highest) {
  if (std::getenv(kVariable) != nullptr) return;
  const auto core = better_blas_core(highest);
  if (!core || ::setenv(kVariable, core->c_str(), 0) != 0) return;
  std::error_code problem;  // by its own path: /proc/self/exe would leave "exe" as the process's name
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (!problem) ::execv(program.c_str(), argv);
}

}  // namespace assay
