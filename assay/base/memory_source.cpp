#include "assay/base/memory_source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <limits>
#include <new>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/temporary.h"

namespace assay {
namespace {

constexpr std::align_val_t kBlockAlignment{64};
// From here on a block lies on huge pages where the system has them.
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

constexpr std::size_t kSlab = std::size_t{32} << 20;
constexpr std::size_t kLargestInSlab = kSlab / 4;  // larger blocks are slabs enough themselves

std::size_t room_of(std::size_t bytes) {
  constexpr auto kAlignment = static_cast<std::size_t>(kBlockAlignment);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

MemorySource& heap_memory() {
  static HeapMemory heap;
  return heap;
}

MemorySource& slab_memory() {
  static SlabMemory slabs(heap_memory());
  return slabs;
}

std::byte* SlabMemory::allocate(std::size_t bytes) {
  if (bytes > kLargestInSlab) return source_.allocate(bytes);
  const std::lock_guard lock(mutex_);
  if (newest_ == nullptr || kSlab - slabs_.at(newest_).used < room_of(bytes)) {
    newest_ = source_.allocate(kSlab);
    slabs_[newest_] = {};
  }
  Slab& slab = slabs_.at(newest_);
  std::byte* block = newest_ + slab.used;
  slab.used += room_of(bytes);
  ++slab.blocks;
  return block;
}

void SlabMemory::release(std::byte* block, std::size_t bytes) {
  if (bytes > kLargestInSlab) {
    source_.release(block, bytes);
    return;
  }
  const std::lock_guard lock(mutex_);
  const auto found = std::prev(slabs_.upper_bound(block));
  Slab& slab = found->second;
  // The latest block makes room for the next: who packs a matrix may have to try twice.
  if (block + room_of(bytes) == found->first + slab.used) slab.used -= room_of(bytes);
  if (--slab.blocks > 0) return;
  if (found->first == newest_) newest_ = nullptr;
  source_.release(found->first, kSlab);
  slabs_.erase(found);
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
