#include "assay/base/heap.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace assay {

namespace {

std::uint64_t available_to_machine() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key, unit;
  std::uint64_t kibibytes = 0;
  while (meminfo >> key >> kibibytes) {
    if (key == "MemAvailable:") return kibibytes * 1024;
    std::getline(meminfo, unit);
  }
  return 0;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;  // no such file, or "max"
}

/// What the control group of the process may have altogether, version 2 or 1; its own pages that could be
/// dropped count as taken.
std::uint64_t available_to_group() {
  std::uint64_t available = std::numeric_limits<std::uint64_t>::max();
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "4:memory:/user", "0::/user"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controller = line.substr(first + 1, second - first - 1),
                      group = line.substr(second + 1);
    if (!controller.empty() && controller != "memory") continue;
    const bool old = controller == "memory";
    const std::string folder = (old ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup") + group;
    const auto limit = number_in(folder + (old ? "/memory.limit_in_bytes" : "/memory.max"));
    const auto used = number_in(folder + (old ? "/memory.usage_in_bytes" : "/memory.current"));
    if (limit) available = std::min(available, *limit - std::min(*limit, used.value_or(0)));
  }
  return available;
}

}  // namespace

std::uint64_t available_memory() {
  return std::min(available_to_machine(), available_to_group());
}

#ifdef __GLIBC__
namespace {

constexpr int kDefault = 128 << 10;       // both thresholds of glibc
constexpr int kLargestMapped = 32 << 20;  // more is not taken
constexpr int kNeverTrimmed = 0x7fffffff;

std::mutex keepers;
int living_keepers = 0;  // the last one gives back

}  // namespace

KeepFreedMemory::KeepFreedMemory() {
  const std::lock_guard lock(keepers);
  ++living_keepers;
  mallopt(M_MMAP_THRESHOLD, kLargestMapped);
  mallopt(M_TRIM_THRESHOLD, kNeverTrimmed);
}

KeepFreedMemory::~KeepFreedMemory() {
  const std::lock_guard lock(keepers);
  if (--living_keepers > 0) return;
  mallopt(M_MMAP_THRESHOLD, kDefault);
  mallopt(M_TRIM_THRESHOLD, kDefault);
  malloc_trim(0);
}
#else
KeepFreedMemory::KeepFreedMemory() = default;
KeepFreedMemory::~KeepFreedMemory() = default;
#endif

}  // namespace assay
