#include "assay/base/float_buffer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/heap.h"
#include "tests/support.h"

namespace assay::test {
namespace {

TEST(FloatBuffer, HoldsWhatItIsGivenWhereverItLies) {
  const TemporaryFolder folder;
  const std::uint64_t before = SpillScope::spilled();
  FloatBuffer outside(1000);
  {
    const SpillScope scope(folder.path().string(), 8000);
    FloatBuffer first(900);  // 7600 bytes with the one outside: still in memory
    EXPECT_EQ(SpillScope::spilled(), before);
    FloatBuffer second(500);
    EXPECT_EQ(SpillScope::spilled(), before + 2000);
    for (FloatBuffer* buffer : {&first, &second}) {
      std::fill_n(buffer->data(), buffer->size(), 3.0f);
      buffer->data()[buffer->size() - 1] = 4.0f;
      EXPECT_EQ(std::span<const float>(*buffer).back(), 4.0f);
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // files without a name
    first.release();
    FloatBuffer third(900);  // its room is free again
    EXPECT_EQ(SpillScope::spilled(), before + 2000);
    FloatBuffer moved(std::move(second));
    EXPECT_EQ(second.size(), 0u);  // NOLINT(bugprone-use-after-move): what is left is nothing
    EXPECT_EQ(moved.data()[0], 3.0f);
    outside = std::move(moved);
  }
  EXPECT_EQ(outside.size(), 500u);
  EXPECT_EQ(outside.data()[499], 4.0f);  // outlives the scope
  FloatBuffer after(10000);
  EXPECT_EQ(SpillScope::spilled(), before + 2000);
}

TEST(FloatBuffer, NoFolderToSpillToIsAnError) {
  const SpillScope scope("/nowhere/at/all", 0);
  EXPECT_ERROR(FloatBuffer(10), "/nowhere/at/all");
  EXPECT_EQ(FloatBuffer().size(), 0u);
  EXPECT_EQ(FloatBuffer(0).size(), 0u);
}

TEST(Heap, SomethingIsAvailable) {
  EXPECT_GT(available_memory(), std::uint64_t{1} << 20);
  const KeepFreedMemory keep;
  EXPECT_NO_THROW(FloatBuffer(1 << 20));
}

}  // namespace
}  // namespace assay::test
