#pragma once
// Running a test at every instruction set that the machine has.
#include <gtest/gtest.h>

#include "assay/base/isa.h"

namespace assay::test {

/// `compute` gives at every level what it gives at the lowest, bit for bit. Its results are compared by ==,
/// so they hold no NaN.
template <class Compute>
void expect_same_on_every_isa(const Compute& compute) {
  limit_isa(Isa::baseline);
  const auto plain = compute();
  for (const Isa isa : isas_of_machine()) {
    limit_isa(isa);
    EXPECT_TRUE(compute() == plain) << isa_name(isa);
  }
  limit_isa(isas_of_machine().back());
}

}  // namespace assay::test
