#pragma once
// That work is linear and not quadratic shows in processor time, by far: bounds are generous, and the machine
// may be busy.
#include <gtest/gtest.h>

#include <ctime>

#include "tests/sanitized.h"

namespace assay::test {

/// Runs it and expects it to need no more processor time than so many seconds, ten times as much under
/// sanitizers.
template <class Function>
void expect_quick(const Function& function, double seconds = 3) {
  constexpr double kSlowdown = kSanitized ? 10 : 1;
  const std::clock_t start = std::clock();
  function();
  EXPECT_LT(static_cast<double>(std::clock() - start), kSlowdown * seconds * CLOCKS_PER_SEC);
}

}  // namespace assay::test
