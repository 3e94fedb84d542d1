#include "assay/base/memory_source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/temporary.h"

namespace assay {
namespace {

constexpr std::align_val_t kBlockAlignment{64};
// From here on a block lies on huge pages where the system has them: weights are read from end to end for
// every token, and looking up small pages costs a fifth of that.
constexpr std::size_t kHugeBlock = std::size_t{4} << 20;
constexpr std::align_val_t kHugePage{std::size_t{2} << 20};

class HeapMemory final : public MemorySource {
 public:
  std::byte* allocate(std::size_t bytes) override {
    if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
    auto* block = static_cast<std::byte*>(::operator new(bytes, alignment(bytes)));
    if (bytes >= kHugeBlock) ::madvise(block, bytes, MADV_HUGEPAGE);  // advice, which may be refused
    return block;
  }
  void release(std::byte* block, std::size_t bytes) override { ::operator delete(block, alignment(bytes)); }

 private:
  static std::align_val_t alignment(std::size_t bytes) {
    return bytes >= kHugeBlock ? kHugePage : kBlockAlignment;
  }
};

}  // namespace

MemorySource& heap_memory() {
  static HeapMemory heap;
  return heap;
}

SpillingMemory::SpillingMemory(std::string folder, std::uint64_t budget)
    : folder_(std::move(folder)), budget_(budget) {}

std::byte* SpillingMemory::map_unnamed_file(std::size_t bytes) {
  const int file = open_unnamed_file(folder_);
  if (file < 0) fail("{}: cannot make a file for activations: {}", folder_, std::strerror(errno));
  // Allocated, not just sized: a disk that fills up later would kill the process on a page fault.
  const int problem = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  void* data =
      problem == 0 ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  const int reason = problem != 0 ? problem : errno;
  ::close(file);
  if (data == MAP_FAILED)
    fail("{}: no room for {} bytes of activations: {}", folder_, bytes, std::strerror(reason));
  spilled_ += bytes;
  return static_cast<std::byte*>(data);
}

std::byte* SpillingMemory::allocate(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > budget_ || in_memory_ > budget_ - bytes) {
    std::byte* block = map_unnamed_file(bytes);
    mapped_.emplace(block, bytes);
    return block;
  }
  std::byte* block = heap_memory().allocate(bytes);
  in_memory_ += bytes;
  return block;
}

void SpillingMemory::release(std::byte* block, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (mapped_.erase(block) > 0) {
    ::munmap(block, bytes);
    return;
  }
  heap_memory().release(block, bytes);
  in_memory_ -= bytes;
}

MemoryBlock& MemoryBlock::operator=(MemoryBlock&& other) noexcept {
  if (this == &other) return *this;
  release();
  source_ = std::exchange(other.source_, nullptr);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void MemoryBlock::release() {
  if (data_ != nullptr) source_->release(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace assay
