#pragma once
// Where a forward pass takes its activations from: memory that stays from one pass to the next, so that a
// decoded token allocates nothing.
#include <cstddef>
#include <span>
#include <vector>

#include "assay/base/memory_source.h"
#include "assay/kernels/rows.h"

namespace assay {

/// One at a time uses it: a pass, a session, a lane of an evaluation. What is taken is given back in reverse
/// order, by scopes.
class Workspace {
 public:
  explicit Workspace(MemorySource& source = heap_memory()) : source_(source) {}
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Uninitialised rows; they last until the scope ends that was open when they were taken.
  Rows take(Element element, std::size_t count, std::size_t width) {
    return {element, take_bytes(count * width * element_bytes(element)), count, width};
  }
  template <class T>
  std::span<T> take_array(std::size_t count) {
    static_assert(std::is_trivially_copyable_v<T>);
    // NOLINTNEXTLINE(bugprone-sizeof-expression): of a pointer where T is one.
    return {reinterpret_cast<T*>(take_bytes(count * sizeof(T))), count};
  }

  /// Gives back at its end what was taken in it. Blocks beyond kKept bytes go back to the source: a long
  /// prefill's are not worth keeping, and a budget may need the room.
  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    ~Scope() { workspace_.return_to(block_, used_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    std::size_t block_, used_;
  };

  /// Blocks asked of the source so far: what tests count.
  std::size_t allocations() const { return allocations_; }

 private:
  static constexpr std::size_t kSmallestBlock = std::size_t{1} << 20;
  static constexpr std::size_t kKept = std::size_t{16} << 20;

  std::byte* take_bytes(std::size_t bytes);
  void return_to(std::size_t block, std::size_t used);

  MemorySource& source_;
  std::vector<MemoryBlock> blocks_;
  std::size_t block_ = 0, used_ = 0;  // the block taken from, and how much of it is taken
  std::size_t allocations_ = 0;
};

/// Rows that belong to somebody for longer than a pass.
class OwnedRows {
 public:
  OwnedRows() = default;
  OwnedRows(MemorySource& source, Element element, std::size_t count, std::size_t width)
      : block_(source, count * width * element_bytes(element)), rows_(element, block_.data(), count, width) {}
  const Rows& rows() const { return rows_; }

 private:
  MemoryBlock block_;
  Rows rows_;
};

}  // namespace assay
