#pragma once
// Where large blocks of memory come from. Who computes takes a source; that activations of a long calibration
// go to disk is a source of their own and nobody's global state.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace assay {

class MemorySource {
 public:
  virtual ~MemorySource() = default;
  /// Uninitialised, aligned to 64 bytes. Any thread. Throws std::bad_alloc, or Error when a file cannot be
  /// made.
  virtual std::byte* allocate(std::size_t bytes) = 0;
  virtual void release(std::byte* block, std::size_t bytes) = 0;
};

/// The process's memory.
MemorySource& heap_memory();

/// Blocks that stay and are read from end to end again and again, weights above all: side by side in slabs,
/// which lie on huge pages, for looking up small ones costs a fifth of reading. A slab goes back to its
/// source with the last of its blocks.
class SlabMemory final : public MemorySource {
 public:
  explicit SlabMemory(MemorySource& source) : source_(source) {}

  std::byte* allocate(std::size_t bytes) override;
  void release(std::byte* block, std::size_t bytes) override;

 private:
  struct Slab {
    std::size_t used = 0, blocks = 0;
  };

  MemorySource& source_;
  std::mutex mutex_;
  std::map<std::byte*, Slab> slabs_;  // by their first byte
  std::byte* newest_ = nullptr;       // the slab that blocks are taken from
};

/// Slabs of the process's memory.
MemorySource& slab_memory();

/// The process's memory up to `budget` bytes alive; blocks beyond are pages of unnamed files in `folder`,
/// which the system writes out and reads back as it must.
class SpillingMemory final : public MemorySource {
 public:
  SpillingMemory(std::string folder, std::uint64_t budget);

  std::byte* allocate(std::size_t bytes) override;
  void release(std::byte* block, std::size_t bytes) override;
  std::uint64_t spilled() const { return spilled_; }  // bytes in files, over all blocks there were

 private:
  std::byte* map_unnamed_file(std::size_t bytes);

  std::string folder_;
  std::uint64_t budget_;
  std::mutex mutex_;
  std::uint64_t in_memory_ = 0;
  std::map<std::byte*, std::size_t> mapped_;
  std::atomic<std::uint64_t> spilled_{0};
};

/// A block of a source, released with the object.
class MemoryBlock {
 public:
  MemoryBlock() = default;
  MemoryBlock(MemorySource& source, std::size_t bytes)
      : source_(&source), data_(bytes > 0 ? source.allocate(bytes) : nullptr), bytes_(bytes) {}
  ~MemoryBlock() { release(); }
  MemoryBlock(MemoryBlock&& other) noexcept { *this = static_cast<MemoryBlock&&>(other); }
  MemoryBlock& operator=(MemoryBlock&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  void release();

 private:
  MemorySource* source_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace assay
