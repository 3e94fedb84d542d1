#pragma once
// What this machine can do, measured in the same run as the numbers it is compared with.
#include <cstdint>

namespace assay {

/// Single-precision matrix multiplication through the BLAS on all threads: median GFLOP/s of a few square
/// products (768 each way, multiply and add counted apart). Takes some tens of milliseconds.
double measure_sgemm_gflops();

/// Reading `bytes` of memory with all threads, first touched by the same threads: median GB/s (1e9) of a few
/// passes.
double measure_read_bandwidth(std::uint64_t bytes);

}  // namespace assay
