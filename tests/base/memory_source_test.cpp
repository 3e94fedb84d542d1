#include "assay/base/memory_source.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "assay/base/error.h"
#include "assay/base/heap.h"
#include "tests/support.h"

namespace assay::test {
namespace {

TEST(SpillingMemory, HoldsWhatItIsGivenWhereverItLies) {
  const TemporaryFolder folder;
  SpillingMemory memory(folder.path().string(), 8000);
  MemoryBlock first(memory, 3600), also(memory, 4000);  // 7600 bytes: still in memory
  EXPECT_EQ(memory.spilled(), 0u);
  MemoryBlock second(memory, 2000);
  EXPECT_EQ(memory.spilled(), 2000u);
  for (const MemoryBlock* block : {&first, &second}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data()) % 64, 0u);
    std::fill_n(block->data(), block->size(), std::byte{3});
    EXPECT_EQ(block->data()[block->size() - 1], std::byte{3});
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // files without a name
  first.release();
  const MemoryBlock third(memory, 3600);  // its room is free again
  EXPECT_EQ(memory.spilled(), 2000u);
  MemoryBlock moved(std::move(second));
  EXPECT_EQ(second.size(), 0u);  // NOLINT(bugprone-use-after-move): what is left is nothing
  EXPECT_EQ(moved.data()[1999], std::byte{3});
}

TEST(SpillingMemory, NoFolderToSpillToIsAnError) {
  SpillingMemory memory("/nowhere/at/all", 0);
  EXPECT_ERROR(MemoryBlock(memory, 10), "/nowhere/at/all");
  EXPECT_EQ(MemoryBlock().size(), 0u);
  EXPECT_EQ(MemoryBlock(memory, 0).size(), 0u);
}

/// Memory of the heap that counts what is alive.
class CountingMemory final : public MemorySource {
 public:
  std::byte* allocate(std::size_t bytes) override {
    ++blocks;
    return heap_memory().allocate(bytes);
  }
  void release(std::byte* block, std::size_t bytes) override {
    --blocks;
    heap_memory().release(block, bytes);
  }
  int blocks = 0;
};

TEST(SlabMemory, BlocksLieSideBySideAndGoBackWithTheLast) {
  CountingMemory heap;
  SlabMemory slabs(heap);
  constexpr std::size_t kBytes = std::size_t{3} << 20;
  std::vector<MemoryBlock> blocks;
  for (int i = 0; i < 24; ++i) {
    blocks.emplace_back(slabs, kBytes + static_cast<std::size_t>(i));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks.back().data()) % 64, 0u);
    std::memset(blocks.back().data(), i, blocks.back().size());
  }
  EXPECT_EQ(heap.blocks, 3);  // ten of them in 32 MiB
  for (int i = 0; i < 24; ++i) {
    const std::byte* data = blocks[static_cast<std::size_t>(i)].data();
    EXPECT_TRUE(std::all_of(data, data + kBytes, [&](std::byte b) { return b == std::byte(i); })) << i;
  }
  blocks.erase(blocks.begin() + 1, blocks.begin() + 10);
  EXPECT_EQ(heap.blocks, 3);
  blocks.erase(blocks.begin());
  EXPECT_EQ(heap.blocks, 2);
  blocks.clear();
  EXPECT_EQ(heap.blocks, 0);
}

TEST(SlabMemory, TheLatestBlockMakesRoomForTheNext) {
  CountingMemory heap;
  SlabMemory slabs(heap);
  const MemoryBlock kept(slabs, 100);
  std::byte* before = nullptr;
  for (int i = 0; i < 100; ++i) {
    const MemoryBlock block(slabs, 1 << 20);
    EXPECT_TRUE(before == nullptr || before == block.data());
    before = block.data();
  }
  EXPECT_EQ(heap.blocks, 1);
  const MemoryBlock large(slabs, std::size_t{40} << 20);  // has memory of its own
  EXPECT_EQ(heap.blocks, 2);
}

TEST(Heap, SomethingIsAvailable) {
  EXPECT_GT(available_memory(), std::uint64_t{1} << 20);
  const KeepFreedMemory keep;
  EXPECT_NO_THROW(MemoryBlock(heap_memory(), 1 << 22));
}

}  // namespace
}  // namespace assay::test
