// Reads in the background: both ways of doing them, and files that change under who reads them.
#include "assay/base/read_queue.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <random>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/mapping_guard.h"
#include "tests/support.h"

namespace assay::test {
namespace {

std::string random_bytes(std::size_t count) {
  std::mt19937 random(7);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

class ReadQueues : public testing::TestWithParam<ReadBackend> {
 protected:
  std::unique_ptr<ReadQueue> queue() {
    try {
      return make_read_queue(GetParam());
    } catch (const Error&) {
      return nullptr;  // a kernel without io_uring
    }
  }
  TemporaryFolder folder_;
};

TEST_P(ReadQueues, BringTheBytesOfManyJobs) {
  const auto reader = queue();
  if (!reader) GTEST_SKIP() << "this kernel refuses io_uring";
  const std::string content = random_bytes(1 << 20);
  write_bytes(folder_.file("data"), content);
  const InputFile file(folder_.file("data"));
  std::mt19937 random(3);
  std::map<std::uint64_t, std::vector<std::pair<std::size_t, std::vector<std::byte>>>> jobs;
  for (std::uint64_t job = 100; job < 200; ++job) {  // more reads than the ring holds at once
    for (int i = 0; i < 9; ++i) {
      const std::size_t offset = random() % content.size(), size = 1 + random() % (content.size() - offset);
      jobs[job].emplace_back(offset, std::vector<std::byte>(std::min<std::size_t>(size, 5000)));
    }
    std::vector<ReadRequest> requests;
    for (auto& [offset, bytes] : jobs[job])
      requests.push_back({file.descriptor(), offset, bytes, bytes.size()});
    reader->submit(job, requests);
  }
  for (std::size_t i = 0; i < 100; ++i) {
    const ReadOutcome outcome = reader->wait();
    EXPECT_TRUE(outcome.good());
    const auto job = jobs.find(outcome.job);
    ASSERT_NE(job, jobs.end()) << "reported twice";
    for (const auto& [offset, bytes] : job->second)
      EXPECT_EQ(std::memcmp(bytes.data(), content.data() + offset, bytes.size()), 0);
    jobs.erase(job);
  }
}

TEST_P(ReadQueues, TellHowAJobFailed) {
  const auto reader = queue();
  if (!reader) GTEST_SKIP() << "this kernel refuses io_uring";
  write_bytes(folder_.file("data"), random_bytes(1000));
  const InputFile file(folder_.file("data"));
  std::vector<std::byte> memory(4096);
  // Behind the end of the file nothing is required, or something is.
  const ReadRequest rounded_up{file.descriptor(), 0, memory, 1000},
      too_much{file.descriptor(), 0, memory, 1001};
  const std::vector<ReadRequest> good = {rounded_up}, cut = {rounded_up, too_much, rounded_up},
                                 closed = {rounded_up, ReadRequest{-1, 0, memory, 10}};
  reader->submit(1, good);
  EXPECT_TRUE(reader->wait().good());
  reader->submit(2, cut);
  ReadOutcome outcome = reader->wait();
  EXPECT_EQ(outcome.job, 2u);
  EXPECT_TRUE(outcome.ended_early);
  reader->submit(3, closed);
  outcome = reader->wait();
  EXPECT_EQ(outcome.error, EBADF);
  EXPECT_FALSE(outcome.ended_early && outcome.error == 0);
}

INSTANTIATE_TEST_SUITE_P(Backends, ReadQueues, testing::Values(ReadBackend::io_uring, ReadBackend::threads),
                         [](const testing::TestParamInfo<ReadBackend>& tested) {
                           return tested.param == ReadBackend::io_uring ? "Ring" : "Threads";
                         });

TEST(InputFile, NoticesWhateverHappensToTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder.file("data");
  const auto open_fresh = [&] {
    std::filesystem::remove(path);
    write_bytes(path, std::string(100, 'x'));
    std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) - std::chrono::seconds(10));
    return std::make_unique<InputFile>(path);
  };
  auto file = open_fresh();
  EXPECT_NO_THROW(file->require_unchanged());
  std::filesystem::resize_file(path, 40);
  EXPECT_ERROR(file->require_unchanged(), path, "100 bytes became 40");
  file = open_fresh();
  write_bytes(path, std::string(100, 'y'));
  EXPECT_ERROR(file->require_unchanged(), path, "written to");
  file = open_fresh();
  write_bytes(folder.file("other"), std::string(100, 'x'));
  std::filesystem::rename(folder.file("other"), path);
  EXPECT_ERROR(file->require_unchanged(), path, "replaced");
  file = open_fresh();
  std::filesystem::remove(path);
  EXPECT_ERROR(file->require_unchanged(), path, "removed");
}

TEST(MappedFileDeathTest, AFileThatShrinksEndsTheProcessWithItsName) {
  const TemporaryFolder folder;
  const std::string path = folder.file("data");
  write_bytes(path, std::string(1 << 16, 'x'));
  const auto file = MappedFile::open(path);
  EXPECT_EQ(mapped_file_of(file->bytes().subspan(50000)), file.get());
  EXPECT_EQ(mapped_file_of(std::as_bytes(std::span(path))), nullptr);
  EXPECT_EXIT(
      {
        end_with_message_on_lost_pages();
        std::filesystem::resize_file(path, 10);
        volatile std::byte last = file->bytes().back();
        (void)last;
      },
      testing::ExitedWithCode(1), "data: cannot be read any more");
}

}  // namespace
}  // namespace assay::test
