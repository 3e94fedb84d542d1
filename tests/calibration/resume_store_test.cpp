// What a calibration that was killed leaves behind.
#include "assay/calibration/resume_store.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "tests/support.h"

namespace assay::test {
namespace {

using Planes = std::vector<std::vector<std::byte>>;

TEST(ResumeStoreTest, HoldsTensorsHiddenRowsAndProgress) {
  const TemporaryFolder folder;
  const std::string path = folder.file("a/store");
  const OrderedJson request = {{"b", 1}, {"a", {2, 3}}};
  const Planes planes = {{std::byte{1}, std::byte{2}, std::byte{3}}, {}, {std::byte{4}}};
  const std::vector<float> hidden = {1.5f, -2.0f, 0.1f};
  {
    ResumeStore store(path, request);
    EXPECT_EQ(store.finished_blocks(), 0);
    EXPECT_FALSE(store.tensor(3, {3, 0, 1}).has_value());
    store.put_tensor(3, planes, {{"loss", 0.1}});
    store.finish_block(1, hidden);
    EXPECT_EQ(store.finished_blocks(), 1);
  }
  const ResumeStore store(path, request);
  EXPECT_EQ(store.finished_blocks(), 1);
  EXPECT_EQ(store.hidden(3), hidden);
  const auto entry = store.tensor(3, {3, 0, 1});
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->planes, planes);
  EXPECT_EQ(entry->report["loss"], 0.1);
}

TEST(ResumeStoreTest, OtherRequestsStartOver) {
  const TemporaryFolder folder;
  const std::string path = folder.file("store");
  {
    ResumeStore store(path, {{"seed", 1}});
    store.put_tensor(0, {{std::byte{1}}}, {});
    store.finish_block(1, std::vector<float>(4));
  }
  ResumeStore store(path, {{"seed", 2}});
  EXPECT_EQ(store.finished_blocks(), 0);
  EXPECT_FALSE(store.tensor(0, {1}).has_value());
  EXPECT_FALSE(std::filesystem::exists(path + "/hidden-1.f32"));
}

TEST(ResumeStoreTest, FoldersOfOthersAreNotTouched) {
  const TemporaryFolder folder;
  const std::string path = folder.file("thesis");
  std::filesystem::create_directory(path);
  write_bytes(path + "/chapter1.txt", "mine");
  EXPECT_ERROR(ResumeStore(path, {}), path, "no calibration of ours");
  test::write_bytes(path + "/request.json", "{}");  // the name alone does not make it ours
  EXPECT_ERROR(ResumeStore(path, {{"seed", 1}}), path, "no calibration of ours");
  EXPECT_EQ(read_bytes(path + "/chapter1.txt"), "mine");
  // Names that we use do not make it ours either, nor does a marker beside what is not ours.
  std::filesystem::rename(path + "/chapter1.txt", path + "/hidden-meaning.txt");
  EXPECT_ERROR(ResumeStore(path, {{"seed", 1}}), path, "no calibration of ours");
  EXPECT_EQ(read_bytes(path + "/hidden-meaning.txt"), "mine");
  ResumeStore(folder.file("ours"), {{"seed", 1}});
  write_bytes(folder.file("ours/notes.txt"), "mine");
  EXPECT_ERROR(ResumeStore(folder.file("ours"), {{"seed", 2}}), "no calibration of ours");
  EXPECT_EQ(read_bytes(folder.file("ours/notes.txt")), "mine");
  std::filesystem::remove(folder.file("ours/notes.txt"));
  ResumeStore store(folder.file("ours"), {{"seed", 1}});
  write_bytes(folder.file("ours/notes.txt"), "mine");
  store.remove();
  EXPECT_EQ(read_bytes(folder.file("ours/notes.txt")), "mine");
  EXPECT_FALSE(std::filesystem::exists(folder.file("ours/request.json")));
  write_bytes(folder.file("file"), "mine too");
  EXPECT_ERROR(ResumeStore(folder.file("file"), {}), folder.file("file"));
  EXPECT_EQ(read_bytes(folder.file("file")), "mine too");
  std::filesystem::create_directory(folder.file("empty"));
  EXPECT_EQ(ResumeStore(folder.file("empty"), {}).finished_blocks(), 0);
}

}  // namespace
}  // namespace assay::test
