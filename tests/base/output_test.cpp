// Where outputs go: pipes, devices and links stay what they are; leftovers go, what is alive stays.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <csignal>
#include <thread>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/interruption.h"
#include "assay/base/mapping_guard.h"
#include "tests/support.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;

std::ptrdiff_t entries(const TemporaryFolder& folder) {
  return std::distance(fs::directory_iterator(folder.path()), {});
}

TEST(Output, LinksAreFollowed) {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("deep"));
  test::write_bytes(folder.file("deep/target"), "old");
  fs::create_symlink("deep/target", folder.file("near"));
  fs::create_symlink("near", folder.file("far"));
  write_file_atomically(folder.file("far"), "new");
  EXPECT_TRUE(fs::is_symlink(folder.file("far")));
  EXPECT_TRUE(fs::is_symlink(folder.file("near")));
  EXPECT_EQ(test::read_bytes(folder.file("deep/target")), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.file("deep")), {}), 1);

  fs::create_symlink("deep/absent", folder.file("dangling"));
  write_file_atomically(folder.file("dangling"), "made");
  EXPECT_TRUE(fs::is_symlink(folder.file("dangling")));
  EXPECT_EQ(test::read_bytes(folder.file("deep/absent")), "made");
  fs::create_symlink("circle", folder.file("circle"));
  EXPECT_ERROR(write_file_atomically(folder.file("circle"), "x"), "circle", "links");
}

TEST(Output, PermissionsOfWhatIsReplacedStay) {
  const TemporaryFolder folder;
  test::write_bytes(folder.file("f"), "old");
  ::chmod(folder.file("f").c_str(), 0600);
  write_file_atomically(folder.file("f"), "new");
  struct stat status {};
  ASSERT_EQ(::stat(folder.file("f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST(Output, PipesAndDevicesAreWrittenTo) {
  const TemporaryFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  write_file_atomically(pipe, "through");
  std::string got(16, '\0');
  EXPECT_EQ(::read(reader, got.data(), got.size()), 7);
  ::close(reader);
  EXPECT_EQ(got.substr(0, 7), "through");
  EXPECT_TRUE(fs::is_fifo(pipe));
  fs::create_symlink("/dev/null", folder.file("null"));
  write_file_atomically(folder.file("null"), "gone");
  EXPECT_TRUE(fs::is_symlink(folder.file("null")));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  if (fs::is_character_file("/dev/full"))  // not every container has one
    EXPECT_ERROR(write_file_atomically("/dev/full", "x"), "/dev/full", "No space left");
  EXPECT_ERROR(write_file_atomically(folder.path().string(), "x"), "a folder");
  EXPECT_EQ(entries(folder), 2);
}

TEST(Output, WhatKilledRunsLeftIsSweptAndWhatLivesStays) {
  const TemporaryFolder folder;
  const std::string dead = folder.file("f.assay-tmp-aaaaaa"), alive = folder.file("f.assay-tmp-bbbbbb"),
                    other = folder.file("g.assay-tmp-aaaaaa"), named = folder.file("f.assay-tmp-notes.txt");
  for (const std::string& path : {dead, alive, other, named}) test::write_bytes(path, "x");
  const int held = ::open(alive.c_str(), O_RDONLY);
  ASSERT_EQ(::flock(held, LOCK_EX | LOCK_NB), 0);
  write_file_atomically(folder.file("f"), "new");
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(alive));
  EXPECT_TRUE(fs::exists(other));  // of another output
  EXPECT_TRUE(fs::exists(named));  // somebody's own
  ::close(held);
}

TEST(AtomicDirectory, ALivingOneIsLeftAloneWhateverItsProcess) {
  const TemporaryFolder folder;
  const auto dead = folder.path() / ".out.assay-tmp-aaaaaa", link = folder.path() / ".out.assay-tmp-bbbbbb";
  fs::create_directory(dead);
  test::write_bytes((dead / "shard").string(), "x");
  fs::create_directory(folder.path() / "mine");
  fs::create_directory_symlink("mine", link);
  AtomicDirectory first(folder.file("out"));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(folder.path() / "mine"));
  test::write_bytes((first.staging() / "x").string(), "1");
  {
    const TemporaryFolder elsewhere;  // listings are kept: another process comes from another folder
    const AtomicDirectory second(folder.file("out"));
    EXPECT_NE(first.staging(), second.staging());
  }
  // As another run sees it: the folder is locked.
  const int other = ::open(first.staging().c_str(), O_RDONLY);
  EXPECT_NE(::flock(other, LOCK_EX | LOCK_NB), 0);
  ::close(other);
  first.commit();
  EXPECT_EQ(test::read_bytes(folder.file("out/x")), "1");
}

TEST(AtomicDirectory, AFolderNamedByOurOwnProcessIdIsNoObstacle) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / fmt::format(".out.assay-tmp-{}", ::getpid()));
  AtomicDirectory directory(folder.file("out"));
  directory.commit();
  EXPECT_EQ(entries(folder), 1);
}

TEST(AtomicDirectory, LinksAreNeitherReplacedNorFollowed) {
  const TemporaryFolder folder;
  fs::create_directory(folder.file("empty"));
  fs::create_directory_symlink("empty", folder.file("to-empty"));
  fs::create_symlink("nowhere", folder.file("dangling"));
  for (const char* name : {"to-empty", "to-empty/", "dangling"}) {
    if (std::string(name).ends_with('/')) continue;
    EXPECT_ERROR(AtomicDirectory(folder.file(name)), name, "symbolic link");
    EXPECT_TRUE(fs::is_symlink(folder.file(name)));
  }
  for (const char* name : {"", ".", "..", "/", "a/.."})
    EXPECT_ERROR(AtomicDirectory{name}, "name of a new folder");
  test::write_bytes(folder.file("file"), "x");
  EXPECT_ERROR(AtomicDirectory(folder.file("file")), "exists already");
  EXPECT_ERROR(AtomicDirectory(folder.file("file/out")), "parent");
  AtomicDirectory over_empty(folder.file("empty"));
  over_empty.commit();
}

TEST(Input, OnlyRegularFilesAreOpened) {
  const TemporaryFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink("pipe", folder.file("link"));
  for (const std::string& path :
       {pipe, folder.file("link")}) {  // nobody writes: opening it would wait for ever
    EXPECT_ERROR(read_file(path, 100), path, "not a regular file but a pipe");
    EXPECT_ERROR(MappedFile::open(path), path, "a pipe");
    EXPECT_ERROR(InputFile(path, false), path, "a pipe");
  }
  EXPECT_ERROR(read_file("/dev/zero", 100), "a device");
  EXPECT_ERROR(read_file(folder.path().string(), 100), "a folder");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = folder.file("socket");
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_ERROR(read_file(name, 100), "a socket");
  ::close(socket);
}

TEST(MadeFoldersTest, GoAgainWhereTheyStayEmpty) {
  const TemporaryFolder folder;
  { const MadeFolders made(folder.file("a/b/c/")); }
  EXPECT_EQ(entries(folder), 0);
  {
    const MadeFolders made(folder.file("a/b/c"));
    test::write_bytes(folder.file("a/b/kept"), "x");
  }
  EXPECT_TRUE(fs::exists(folder.file("a/b/kept")));
  EXPECT_FALSE(fs::exists(folder.file("a/b/c")));
  fs::remove(folder.file("a/b/kept"));
  { const MadeFolders made(folder.file("a/b/d")); }  // a/b was there before: not this one's to remove
  EXPECT_TRUE(fs::exists(folder.file("a/b")));
  EXPECT_FALSE(fs::exists(folder.file("a/b/d")));
  test::write_bytes(folder.file("file"), "x");
  EXPECT_ERROR(MadeFolders(folder.file("file")), "file: not a folder");
  EXPECT_ERROR(MadeFolders(folder.file("file/below")), "below: cannot create the folder: Not a directory");
}

/// In a process of its own: makes a folder and a file, then does `last`.
template <class Last>
void make_and(const TemporaryFolder& folder, Last last) {
  watch_interruptions();
  const Temporary directory = Temporary::folder(folder.file("out"));
  const Temporary file = Temporary::file(directory.path() + "/inner");
  const Temporary beside = Temporary::file(folder.file("page.html"));
  test::write_bytes(directory.path() + "/shard", "x");
  const MadeFolders above(folder.file("not/there/yet"));
  const InterruptionNote note("kept: \x1b[2K");
  last();
  while (true) ::pause();
}

TEST(InterruptionDeathTest, NothingStaysAndTheSignalIsTheExitCode) {
  const TemporaryFolder folder;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EXIT(make_and(folder, [&] { ::raise(signal); }), testing::ExitedWithCode(128 + signal),
                "interrupted by SIG[A-Z]+\nkept: .x1b.2K");
    EXPECT_EQ(entries(folder), 0) << signal;
  }
}

TEST(InterruptionDeathTest, AnIgnoredSignalStaysIgnored) {
  const TemporaryFolder folder;
  const auto go_on = [&] {
    std::signal(SIGHUP, SIG_IGN);
    make_and(folder, [] {
      ::raise(SIGHUP);
      std::this_thread::sleep_for(
          std::chrono::milliseconds(500));  // who watches would have ended this by now
      ::_exit(7);
    });
  };
  EXPECT_EXIT(go_on(), testing::ExitedWithCode(7), "");
}

TEST(InterruptionDeathTest, AFileThatShrinksLeavesNothingEither) {
  const TemporaryFolder folder, source;
  test::write_bytes(source.file("weights"), std::string(1 << 20, 'x'));
  const auto shrink = [&] {
    make_and(folder, [&] {
      end_with_message_on_lost_pages();
      const auto mapped = MappedFile::open(source.file("weights"));
      fs::resize_file(source.file("weights"), 10);
      volatile std::byte last = mapped->bytes().back();
      (void)last;
    });
  };
  EXPECT_EXIT(shrink(), testing::ExitedWithCode(1), "weights: cannot be read any more");
  EXPECT_EQ(entries(folder), 0);
}

}  // namespace
}  // namespace assay
