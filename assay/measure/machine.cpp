#include "assay/measure/machine.h"

#include <cblas.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "assay/base/clock.h"
#include "assay/formats/multiversion.h"
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

/// Independent sums keep the loads in flight.
ASSAY_LOOP std::uint64_t sum_words_loop(const std::uint64_t* words, std::size_t count) {
  constexpr std::size_t kSums = 32;
  std::uint64_t sums[kSums] = {};
  for (std::size_t i = 0; i + kSums <= count; i += kSums)
    for (std::size_t lane = 0; lane < kSums; ++lane) sums[lane] += words[i + lane];
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}
constexpr Multiversion<sum_words_loop> sum_words;

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

ReadProbe::ReadProbe(std::uint64_t bytes)
    : chunks_(std::max<std::size_t>(1, static_cast<std::size_t>(bytes) / kChunkBytes)),
      sums_(chunks_),
      block_(heap_memory(), chunks_ * kChunkBytes),
      words_(reinterpret_cast<std::uint64_t*>(block_.data())) {
  parallel_for(chunks_, [&](std::size_t i) {
    std::fill_n(words_ + i * kChunkWords, kChunkWords, std::uint64_t{1} + i);
  });
}

double ReadProbe::bytes_per_second() {
  const auto start = Clock::now();
  parallel_for(chunks_, [&](std::size_t i) { sums_[i] += sum_words(words_ + i * kChunkWords, kChunkWords); });
  const double seconds = seconds_since(start);
  // The sums are read so that the loop cannot be dropped.
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums_) total += sum;
  return total == 0 ? 0 : static_cast<double>(chunks_ * kChunkBytes) / seconds;
}

}  // namespace assay
