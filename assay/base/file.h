#pragma once
// Files: read whole, mapped read-only, and outputs that appear whole or not at all.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "assay/base/bytes.h"
#include "assay/base/temporary.h"

namespace assay {

/// The whole content of a regular file of at most `limit` bytes. Throws Error.
std::string read_file(const std::string& path, std::size_t limit);

/// Which file it is, and in which state: enough to tell that it was replaced, cut or written to.
struct FileIdentity {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileIdentity&) const = default;
};

/// A regular file mapped read-only; the size is checked again after mapping. Shared, so views stay valid.
/// A file that shrinks while it is mapped ends the process with a message and exit code 1, where the page
/// that is no longer there is read: nothing could be returned for it.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }  // when it was opened

 private:
  MappedFile(std::string path, const std::byte* data, const FileIdentity& identity);
  std::string path_;
  const std::byte* data_;
  std::size_t size_;
  FileIdentity identity_;
};

/// The mapped file that `bytes` lie in, as long as it is open; null for other memory.
const MappedFile* mapped_file_of(Bytes bytes);

/// Pages of a mapped file that lie wholly within `bytes` leave the process's memory until they are read
/// again; other memory is left alone.
void leave_mapped_pages(Bytes bytes);

/// A regular file for reads at explicit offsets.
class InputFile {
 public:
  /// `direct`: past the page cache (O_DIRECT), where the file system allows it; offsets, sizes and memory
  /// are then multiples of kDirectAlignment. Throws Error.
  explicit InputFile(const std::string& path, bool direct = false);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }  // when it was opened
  /// Throws Error when the file, or what its path names, is not what was opened any more.
  void require_unchanged() const;

  static constexpr std::uint64_t kDirectAlignment = 4096;

 private:
  std::string path_;
  int descriptor_ = -1;
  FileIdentity identity_;
};

/// A file being written at explicit offsets, inside an AtomicDirectory or on its own. Errors (disk full)
/// throw.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);  // creates; fails if it exists
  ~OutputFile();
  OutputFile(OutputFile&& other) noexcept;
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  OutputFile& operator=(OutputFile&&) = delete;

  void write_at(std::uint64_t offset, Bytes bytes);
  void close();  // fsync, then close; throws on a delayed write error
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// The folder that a file or folder of this name lies in: "." for a plain name.
std::string parent_folder(const std::string& path);

/// Writes `content` to a temporary name beside `path`, fsyncs, renames. Replaces an existing file and keeps
/// its permissions. A symbolic link stays: what it leads to is replaced. What is no regular file (a pipe, a
/// device) is written to directly.
void write_file_atomically(const std::string& path, std::string_view content);

/// A directory built under a hidden sibling name and renamed to `path` by commit(). Without commit() it is
/// removed. `path` must not exist (an empty directory counts as not existing, a symbolic link as existing).
/// What a killed process left is removed by the next writer of the same path; what a living one makes is
/// locked.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(const std::string& path);
  ~AtomicDirectory() = default;
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& staging() const { return staging_; }
  const std::filesystem::path& destination() const { return destination_; }
  void commit();                              // fsync everything, rename, fsync the parent
  void commit_file(const std::string& name);  // likewise, but only this file of it, which becomes `path`

 private:
  std::filesystem::path destination_;
  Temporary temporary_;
  std::filesystem::path staging_;
};

/// SHA-256 as lower-case hex.
std::string sha256_hex(Bytes bytes);

}  // namespace assay
