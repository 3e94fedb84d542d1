#pragma once
// The process's memory: how much there is to have, and when freed pages go back.
#include <cstdint>

namespace assay {

/// In bytes: MemAvailable of /proc/meminfo (0 when it cannot be read), or less where a control group has
/// less.
std::uint64_t available_memory();

/// While one lives, memory that is freed stays with the process: work that allocates the same large
/// buffers over and over then gets pages that it already has, not fresh ones to be zeroed. glibc only; a
/// no-op elsewhere.
class KeepFreedMemory {
 public:
  KeepFreedMemory();
  ~KeepFreedMemory();  // the last one gives it back
  KeepFreedMemory(const KeepFreedMemory&) = delete;
  KeepFreedMemory& operator=(const KeepFreedMemory&) = delete;
};

}  // namespace assay
