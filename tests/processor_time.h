#pragma once
// That work is linear and not quadratic shows in processor time, by far: bounds are generous, and the machine
// may be busy.
#include <gtest/gtest.h>

#include <ctime>

namespace assay::test {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr double kSlowdown = 10;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr double kSlowdown = 10;
#else
inline constexpr double kSlowdown = 1;
#endif
#else
inline constexpr double kSlowdown = 1;
#endif

/// Runs it and expects it to need no more processor time than so many seconds, ten times as much under
/// sanitizers.
template <class Function>
void expect_quick(const Function& function, double seconds = 3) {
  const std::clock_t start = std::clock();
  function();
  EXPECT_LT(static_cast<double>(std::clock() - start), kSlowdown * seconds * CLOCKS_PER_SEC);
}

}  // namespace assay::test
