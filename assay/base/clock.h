#pragma once

#include <chrono>

namespace assay {

/// The clock of everything that is timed: it only ever goes forward.
using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace assay
