#include "assay/base/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "assay/base/error.h"
#include "assay/base/mapping_guard.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }
  int release() { return std::exchange(value_, -1); }

 private:
  int value_;
};

std::string reason() {
  return std::generic_category().message(errno);
}

FileIdentity identity_of(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size),
          std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

const char* kind_of(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a pipe";
    case S_IFSOCK:
      return "a socket";
    default:
      return "a device";
  }
}

void require_regular(const struct stat& status, const std::string& path) {
  if (!S_ISREG(status.st_mode)) fail("{}: not a regular file but {}", path, kind_of(status));
}

FileIdentity regular_identity(int descriptor, const std::string& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail("{}: cannot read its status: {}", path, reason());
  require_regular(status, path);
  return identity_of(status);
}

/// Opens for reading without ever waiting for the other end of a pipe, or waking a device.
int open_for_reading(const std::string& path, int flags, const char* how) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) require_regular(status, path);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
  if (descriptor < 0) fail("{}: cannot open{}: {}", path, how, reason());
  return descriptor;
}

Descriptor open_regular(const std::string& path) {
  return Descriptor(open_for_reading(path, 0, ""));
}

std::size_t regular_size(const Descriptor& file, const std::string& path) {
  return static_cast<std::size_t>(regular_identity(file.get(), path).size);
}

void sync_path(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) fail("{}: cannot fsync: {}", path.string(), reason());
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void write_all(int descriptor, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t put = ::write(descriptor, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("{}: cannot write: {}", path, reason());
    content.remove_prefix(static_cast<std::size_t>(put));
  }
}

/// What a chain of symbolic links leads to, whether it exists or not; other paths as they are.
std::string behind_links(const std::string& path) {
  std::error_code problem;
  fs::path at = path;
  constexpr int kMostLinks = 40;
  for (int i = 0; i < kMostLinks; ++i) {
    if (!fs::is_symlink(fs::symlink_status(at, problem))) return at.string();
    const fs::path target = fs::read_symlink(at, problem);
    if (problem) fail("{}: cannot follow this link: {}", path, problem.message());
    at = target.is_absolute() ? target : parent_of(at) / target;
  }
  fail("{}: more than {} links, one after another", path, kMostLinks);
}

/// Our own standard output or error, when that is what the path names; else -1.
int standard_stream(const struct stat& named) {
  for (const int stream : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat opened {};
    if (::fstat(stream, &opened) == 0 && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino)
      return stream;
  }
  return -1;
}

/// Into a pipe, a device or a stream of our own: there is nothing to rename.
void write_directly(const std::string& path, const struct stat& status, std::string_view content) {
  if (S_ISDIR(status.st_mode)) fail("{}: a folder, a file expected to write to", path);
  if (const int stream = standard_stream(status); stream >= 0) {
    std::fflush(stream == STDOUT_FILENO ? stdout : stderr);
    write_all(stream, content, path);
    return;
  }
  Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) fail("{}: cannot open for writing: {}", path, reason());
  write_all(file.get(), content, path);
  if (::close(file.release()) != 0) fail("{}: cannot finish writing: {}", path, reason());
}

}  // namespace

std::string read_file(const std::string& path, std::size_t limit) {
  const Descriptor file = open_regular(path);
  const std::size_t size = regular_size(file, path);
  if (size > limit) fail("{}: {} bytes, at most {} expected", path, size, limit);
  std::string content(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("{}: cannot read: {}", path, reason());
    if (got == 0) fail("{}: ends at byte {}, {} expected (it shrank while being read)", path, done, size);
    done += static_cast<std::size_t>(got);
  }
  return content;
}

MappedFile::MappedFile(std::string path, const std::byte* data, const FileIdentity& identity)
    : path_(std::move(path)),
      data_(data),
      size_(static_cast<std::size_t>(identity.size)),
      identity_(identity) {
  if (data_ != nullptr) guard_mapping(this);
}

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file = open_regular(path);
  const FileIdentity identity = regular_identity(file.get(), path);
  if (identity.size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(path, nullptr, identity));
  void* data = ::mmap(nullptr, identity.size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail("{}: cannot map {} bytes: {}", path, identity.size, reason());
  auto mapped =
      std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), identity));
  if (regular_size(file, path) != identity.size) fail("{}: changed its size while being opened", path);
  return mapped;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  release_mapping(this);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

InputFile::InputFile(const std::string& path, bool direct)
    : path_(path),
      descriptor_(open_for_reading(path, direct ? O_DIRECT : 0, direct ? " past the page cache" : "")) {
  try {
    identity_ = regular_identity(descriptor_, path);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

InputFile::~InputFile() {
  ::close(descriptor_);
}

void InputFile::require_unchanged() const {
  struct stat named {};
  if (::stat(path_.c_str(), &named) != 0) fail("{}: removed while in use: {}", path_, reason());
  if (const FileIdentity now = identity_of(named); now != identity_)
    fail("{}: {} while in use", path_,
         now.device != identity_.device || now.inode != identity_.inode ? "replaced"
         : now.size != identity_.size ? fmt::format("{} bytes became {}", identity_.size, now.size)
                                      : "written to");
}

OutputFile::OutputFile(const std::string& path)
    : path_(path), descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail("{}: cannot create: {}", path, reason());
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::write_at(std::uint64_t offset, Bytes bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) fail("{}: cannot write at byte {}: {}", path_, offset, reason());
    offset += static_cast<std::uint64_t>(put);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void OutputFile::close() {
  const int descriptor = std::exchange(descriptor_, -1);
  const bool synced = ::fsync(descriptor) == 0;
  const std::string why = synced ? "" : reason();
  const bool closed = ::close(descriptor) == 0;
  if (!synced || !closed) fail("{}: cannot finish writing: {}", path_, synced ? reason() : why);
}

std::string parent_folder(const std::string& path) {
  fs::path name(path);
  if (!name.has_filename()) name = name.parent_path();  // "out/" means "out"
  return parent_of(name).string();
}

void write_file_atomically(const std::string& path, std::string_view content) {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && (!S_ISREG(status.st_mode) || standard_stream(status) >= 0)) {
    write_directly(path, status, content);
    return;
  }
  const std::string target = behind_links(path);
  Temporary file = Temporary::file(target);
  write_all(file.descriptor(), content, file.path());
  if (exists) (void)::fchmod(file.descriptor(), status.st_mode & 07777);
  if (::fsync(file.descriptor()) != 0) fail("{}: cannot finish writing: {}", path, reason());
  file.rename_to(target);
  sync_path(parent_of(target));
}

namespace {

/// Where an AtomicDirectory may appear: a name in a folder that is there, and nothing under it yet.
fs::path free_name(const std::string& path) {
  fs::path name = fs::path(path).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();  // "out/" means "out"
  if (!name.has_filename() || name.filename() == "." || name.filename() == "..")
    fail("\"{}\": the name of a new folder expected", path);
  std::error_code problem;
  const fs::file_status status = fs::symlink_status(name, problem);
  if (fs::is_symlink(status))
    fail("{}: exists already, a symbolic link; remove it or choose another name", name.string());
  if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(name, problem)))
    fail("{}: exists already; remove it or choose another name", name.string());
  if (problem && fs::exists(status)) fail("{}: cannot look into it: {}", name.string(), problem.message());
  if (!fs::is_directory(parent_of(name), problem))
    fail("{}: its parent directory does not exist", name.string());
  return name;
}

}  // namespace

AtomicDirectory::AtomicDirectory(const std::string& path)
    : destination_(free_name(path)),
      temporary_(Temporary::folder(destination_.string())),
      staging_(temporary_.path()) {}

void AtomicDirectory::commit() {
  std::error_code problem;
  for (fs::recursive_directory_iterator at(staging_, problem), end; !problem && at != end;
       at.increment(problem))
    if (at->is_regular_file(problem)) sync_path(at->path());
  if (problem) fail("{}: cannot list: {}", staging_.string(), problem.message());
  sync_path(staging_);
  temporary_.rename_to(destination_.string());
  sync_path(parent_of(destination_));
}

void AtomicDirectory::commit_file(const std::string& name) {
  const fs::path file = staging_ / name;
  sync_path(file);
  std::error_code problem;
  if (fs::exists(fs::symlink_status(destination_, problem)))
    fail("{}: exists already; remove it or choose another name", destination_.string());
  fs::rename(file, destination_, problem);
  if (problem)
    fail("{}: cannot rename {} to it: {}", destination_.string(), file.string(), problem.message());
  sync_path(parent_of(destination_));
}

std::string sha256_hex(Bytes bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1)
    fail("SHA-256 failed in libcrypto");
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace assay
