#pragma once
// Files: read whole, mapped read-only, and outputs that appear whole or not at all.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "assay/base/bytes.h"

namespace assay {

/// The whole content of a regular file of at most `limit` bytes. Throws Error.
std::string read_file(const std::string& path, std::size_t limit);

/// A regular file mapped read-only; the size is checked again after mapping. Shared, so views stay valid.
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  Bytes bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, std::size_t size);
  std::string path_;
  const std::byte* data_;
  std::size_t size_;
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

/// Writes `content` to a temporary name beside `path`, fsyncs, renames. Replaces an existing file.
void write_file_atomically(const std::string& path, std::string_view content);

/// A directory built under a hidden sibling name and renamed to `path` by commit(). Without commit() it is
/// removed. `path` must not exist (an empty directory counts as not existing). A leftover of a process that
/// was killed is removed by the next writer of the same path.
class AtomicDirectory {
 public:
  explicit AtomicDirectory(const std::string& path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& staging() const { return staging_; }
  const std::filesystem::path& destination() const { return destination_; }
  void commit();  // fsync everything, rename, fsync the parent

 private:
  std::filesystem::path destination_;
  std::filesystem::path staging_;
  bool committed_ = false;
};

/// SHA-256 as lower-case hex.
std::string sha256_hex(Bytes bytes);

}  // namespace assay
