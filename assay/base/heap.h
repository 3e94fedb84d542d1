#pragma once
// While an object lives, memory that is freed stays with the process: work that allocates the same large
// buffers over and over then gets pages that it already has, not fresh ones to be zeroed. glibc only; a no-op
// elsewhere.

namespace assay {

class KeepFreedMemory {
 public:
  KeepFreedMemory();
  ~KeepFreedMemory();  // gives it back
  KeepFreedMemory(const KeepFreedMemory&) = delete;
  KeepFreedMemory& operator=(const KeepFreedMemory&) = delete;
};

}  // namespace assay
