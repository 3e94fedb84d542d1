#include "assay/parallel/threads.h"

#include <omp.h>

#include <atomic>
#include <exception>

namespace assay {

void set_thread_count(int count) {
  static const int all = omp_get_max_threads();  // what the machine and OMP_NUM_THREADS allow, asked once
  omp_set_num_threads(count > 0 ? count : all);
}

int thread_count() {
  return omp_get_max_threads();
}

void parallel_for(std::size_t count, const std::function<void(std::size_t)>& body) {
  std::exception_ptr problem;
  std::atomic<bool> failed{false};
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < count; ++i) {
    if (failed) continue;
    try {
      body(i);
    } catch (...) {
#pragma omp critical(assay_parallel_for)
      if (!failed.exchange(true)) problem = std::current_exception();
    }
  }
  if (problem) std::rethrow_exception(problem);
}

}  // namespace assay
