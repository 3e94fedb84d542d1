#include "assay/measure/machine.h"

#include <cblas.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "assay/base/clock.h"
#include "assay/parallel/threads.h"

namespace assay {
namespace {

constexpr int kRepeats = 3;

/// Median seconds of a few calls after one to warm up.
template <class Work>
double median_seconds(const Work& work) {
  work();
  std::vector<double> seconds;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = Clock::now();
    work();
    seconds.push_back(seconds_since(start));
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[kRepeats / 2];
}

/// Eight independent sums keep the loads in flight.
std::uint64_t sum_words(const std::uint64_t* words, std::size_t count) {
  std::uint64_t sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (std::size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  for (; i < count; ++i) sums[0] += words[i];
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double measure_sgemm_gflops() {
  // OpenBLAS has one number of threads for the process, and this is the only call that lets it use several.
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  constexpr int kSize = 768;
  const std::vector<float> a(std::size_t{kSize} * kSize, 0.5f), b(std::size_t{kSize} * kSize, 0.25f);
  std::vector<float> c(std::size_t{kSize} * kSize);
  const double seconds = median_seconds([&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, kSize, kSize, kSize, 1.0f, a.data(), kSize, b.data(),
                kSize, 0.0f, c.data(), kSize);
  });
  return 2.0 * kSize * kSize * kSize / seconds / 1e9;
}

double measure_read_bandwidth(std::uint64_t bytes) {
  const auto threads = static_cast<std::size_t>(thread_count());
  const std::size_t share =
      std::max<std::size_t>(1, static_cast<std::size_t>(bytes) / sizeof(std::uint64_t) / threads);
  // Uninitialised on purpose: the pages are first touched by the thread that reads them.
  const std::unique_ptr<std::uint64_t[]> words(new std::uint64_t[share * threads]);
  std::vector<std::uint64_t> sums(threads);
  parallel_for(threads,
               [&](std::size_t t) { std::fill_n(words.get() + t * share, share, std::uint64_t{1} + t); });
  const double seconds = median_seconds([&] {
    parallel_for(threads, [&](std::size_t t) { sums[t] += sum_words(words.get() + t * share, share); });
  });
  // The sums are read so that the loop cannot be dropped.
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  const double read = static_cast<double>(share * threads * sizeof(std::uint64_t));
  return total == 0 ? 0 : read / seconds / 1e9;
}

}  // namespace assay
