#include "assay/base/heap.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace assay {

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
