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

constexpr const char* kCore = "OPENBLAS_CORETYPE";
// How long a thread of OpenMP that has nothing to do looks for work before it sleeps. libgomp's own count is
// several milliseconds of a core that others could use; this is about a tenth of one, longer than the gaps in
// a token.
constexpr const char* kSpin = "GOMP_SPINCOUNT";
constexpr const char* kSpinCount = "4000";
constexpr std::array<std::string_view, 6> kSseCores = {"Prescott",   "Core2",   "Penryn",
                                                       "Dunnington", "Nehalem", "Northwood"};
constexpr std::array<std::string_view, 3> kAvx512Cores = {"SkylakeX", "Cooperlake", "Sapphirerapids"};

}  // namespace

std::string blas_core() {
  return openblas_get_corename();
}

std::optional<std::string> better_blas_core(std::string_view core, Isa machine, Isa highest) {
  const bool sse = std::ranges::count(kSseCores, core) > 0,
             avx512 = std::ranges::count(kAvx512Cores, core) > 0;
  if (highest < machine)  // somebody wants less than there is
    switch (highest) {
      case Isa::baseline:
        return sse ? std::nullopt : std::optional<std::string>("Prescott");
      case Isa::avx2:
        return sse || avx512 ? std::optional<std::string>("Haswell") : std::nullopt;
      case Isa::avx512:
      case Isa::neon:
        return std::nullopt;
    }
  if (!sse || machine == Isa::baseline) return std::nullopt;
  return machine == Isa::avx512 ? "SkylakeX" : "Haswell";
}

std::optional<std::string> better_blas_core(Isa highest) {
#if defined(__x86_64__)
  return better_blas_core(blas_core(), isas_of_machine().back(), highest);
#else
  (void)highest;
  return std::nullopt;
#endif
}

void restart_in_better_environment(char** argv, Isa highest) {
  bool better = false;
  const auto set = [&](const char* variable, const char* value) {
    better = (std::getenv(variable) == nullptr && ::setenv(variable, value, 0) == 0) || better;
  };
  if (const auto core = better_blas_core(highest)) set(kCore, core->c_str());
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) set(kSpin, kSpinCount);
  if (!better) return;
  std::error_code problem;  // by its own path: /proc/self/exe would leave "exe" as the process's name
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (!problem) ::execv(program.c_str(), argv);
}

}  // namespace assay
