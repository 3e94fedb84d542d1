#include "assay/base/memory_source.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdint>
#include <utility>

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

TEST(Heap, SomethingIsAvailable) {
  EXPECT_GT(available_memory(), std::uint64_t{1} << 20);
  const KeepFreedMemory keep;
  EXPECT_NO_THROW(MemoryBlock(heap_memory(), 1 << 22));
}

}  // namespace
}  // namespace assay::test
