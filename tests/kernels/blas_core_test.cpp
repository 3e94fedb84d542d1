#include "assay/kernels/blas_core.h"

#include <gtest/gtest.h>

namespace assay::test {
namespace {

// This program's main has restarted it where OpenBLAS did not know the CPU: nothing better may be left.
TEST(BlasCore, TestsRunOnTheKernelsThatTheCpuAllows) {
  EXPECT_FALSE(blas_core().empty());
  EXPECT_EQ(better_blas_core(isas_of_machine().back()), std::nullopt) << blas_core();
}

}  // namespace
}  // namespace assay::test
