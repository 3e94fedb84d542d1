#pragma once
// Splits a computation over the threads where that pays.
#include <cstddef>
#include <cstdint>

#include "assay/parallel/threads.h"

namespace assay {

/// While one lives, BLAS calls of this thread stay on it: the OpenMP build of OpenBLAS takes the thread count
/// of its caller.
class SerialSection {
 public:
  SerialSection() : threads_(thread_count()) { set_thread_count(1); }
  ~SerialSection() { set_thread_count(threads_); }
  SerialSection(const SerialSection&) = delete;
  SerialSection& operator=(const SerialSection&) = delete;

 private:
  int threads_;
};

/// body(i) for i in [0, count), each on one thread. `multiplications` is the cost of all together: a small
/// product is over before a team of threads is awake, least of all on a machine with other work.
template <class Body>
void for_each_task(std::size_t count, std::uint64_t multiplications, const Body& body) {
  constexpr std::uint64_t kWorthATeam = 1 << 19;
  if (multiplications >= kWorthATeam) {
    parallel_for(count, body);
    return;
  }
  const SerialSection serial;
  for (std::size_t i = 0; i < count; ++i) body(i);
}

}  // namespace assay
