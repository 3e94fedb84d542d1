// GoogleTest's main for programs that multiply matrices: with the kernels that assay itself runs.
#include <gtest/gtest.h>

#include "assay/kernels/blas_core.h"

int main(int argc, char** argv) {
  assay::restart_in_better_environment(argv, assay::isas_of_machine().back());
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
