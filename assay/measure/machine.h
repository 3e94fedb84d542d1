#pragma once
// What this machine can do, measured in the same run as the numbers it is compared with.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "assay/base/memory_source.h"

namespace assay {

/// Single-precision matrix multiplication through the BLAS on all threads: median GFLOP/s of a few square
/// products (768 each way, multiply and add counted apart). Takes some tens of milliseconds.
double measure_sgemm_gflops();

/// Reads memory as fast as all threads can: what a kernel that does nothing but read its weights would reach.
class ReadProbe {
 public:
  /// Over `bytes` of memory of its own, more than the caches hold if that is to be measured.
  explicit ReadProbe(std::uint64_t bytes);
  /// Of one pass over it, chunks claimed as kernels claim theirs.
  double bytes_per_second();

 private:
  static constexpr std::size_t kChunkBytes = std::size_t{1} << 18,
                               kChunkWords = kChunkBytes / sizeof(std::uint64_t);
  std::size_t chunks_;
  std::vector<std::uint64_t> sums_;
  MemoryBlock block_;
  std::uint64_t* words_;
};

}  // namespace assay
