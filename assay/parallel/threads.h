#pragma once
// The one place that says how many threads there are and splits a range over them (OpenMP).
#include <cstddef>
#include <functional>

namespace assay {

/// Of the calling thread. 0 = all the process may use (OMP_NUM_THREADS is heeded). OpenBLAS follows: it is
/// the OpenMP build.
void set_thread_count(int count);
int thread_count();

/// The calling thread's count is another for as long as one lives; 0: the same.
class ThreadScope {
 public:
  explicit ThreadScope(int count) : before_(thread_count()) {
    if (count > 0) set_thread_count(count);
  }
  ~ThreadScope() { set_thread_count(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

/// Calls body(i) for i in [0, count) on all threads, dynamically scheduled. The first exception thrown by a
/// body is rethrown here after all have finished; the others' work is skipped.
void parallel_for(std::size_t count, const std::function<void(std::size_t)>& body);

}  // namespace assay
