#include "assay/base/heap.h"

#include <cstdlib>
#include <fstream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace assay {

std::uint64_t available_memory() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  std::uint64_t kibibytes = 0;
  while (meminfo >> key >> kibibytes) {
    if (key == "MemAvailable:") return kibibytes * 1024;
    std::getline(meminfo, unit);
  }
  return 0;
}

#ifdef __GLIBC__
namespace {

constexpr int kDefault = 128 << 10;       // both thresholds of glibc
constexpr int kLargestMapped = 32 << 20;  // more is not taken
constexpr int kNeverTrimmed = 0x7fffffff;

}  // namespace

KeepFreedMemory::KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, kLargestMapped);
  mallopt(M_TRIM_THRESHOLD, kNeverTrimmed);
}

KeepFreedMemory::~KeepFreedMemory() {
  mallopt(M_MMAP_THRESHOLD, kDefault);
  mallopt(M_TRIM_THRESHOLD, kDefault);
  malloc_trim(0);
}
#else
KeepFreedMemory::KeepFreedMemory() = default;
KeepFreedMemory::~KeepFreedMemory() = default;
#endif

}  // namespace assay
