#include "assay/kernels/blas_core.h"

#include <gtest/gtest.h>

namespace assay::test {
namespace {

// This program's main has restarted it where OpenBLAS did not know the CPU: nothing better may be left.
TEST(BlasCore, TestsRunOnTheKernelsThatTheCpuAllows) {
  EXPECT_FALSE(blas_core().empty());
  EXPECT_EQ(better_blas_core(isas_of_machine().back()), std::nullopt) << blas_core();
}

TEST(BlasCore, SlowKernelsAreReplacedAndFastOnesOnlyWhereLessIsWanted) {
  const auto none = std::optional<std::string>();
  constexpr Isa kBaseline = Isa::baseline, kAvx2 = Isa::avx2, kAvx512 = Isa::avx512;
  EXPECT_EQ(better_blas_core("Prescott", kAvx512, kAvx512), "SkylakeX");
  EXPECT_EQ(better_blas_core("Nehalem", kAvx2, kAvx2), "Haswell");
  EXPECT_EQ(better_blas_core("Prescott", kBaseline, kBaseline), none);
  // A machine between the levels, or of another kind: OpenBLAS knows best.
  EXPECT_EQ(better_blas_core("Sandybridge", kBaseline, kBaseline), none);
  EXPECT_EQ(better_blas_core("NEOVERSEN1", kBaseline, kBaseline), none);
  EXPECT_EQ(better_blas_core("Zen", kAvx512, kAvx512), none);
  // Less than there is.
  EXPECT_EQ(better_blas_core("SkylakeX", kAvx512, kAvx2), "Haswell");
  EXPECT_EQ(better_blas_core("Cooperlake", kAvx512, kBaseline), "Prescott");
  EXPECT_EQ(better_blas_core("Prescott", kAvx512, kAvx2), "Haswell");
  EXPECT_EQ(better_blas_core("Haswell", kAvx512, kAvx2), none);
  EXPECT_EQ(better_blas_core("Prescott", kAvx2, kBaseline), none);
}

}  // namespace
}  // namespace assay::test
