#include "assay/base/file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
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

FileIdentity regular_identity(int descriptor, const std::string& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail("{}: cannot read its status: {}", path, reason());
  if (!S_ISREG(status.st_mode)) fail("{}: not a regular file", path);
  return identity_of(status);
}

Descriptor open_regular(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("{}: cannot open: {}", path, reason());
  return Descriptor(descriptor);
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

bool process_runs(int pid) {
  return ::kill(pid, 0) == 0 || errno == EPERM;
}

/// Removes staging directories of `prefix` whose process is gone: what a SIGKILL left behind.
void remove_leftovers(const fs::path& parent, const std::string& prefix) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(prefix)) continue;
    int pid = 0;
    const char* end = name.data() + name.size();
    const auto [at, problem] = std::from_chars(name.data() + prefix.size(), end, pid);
    if (problem == std::errc() && at == end && !process_runs(pid)) fs::remove_all(entry.path(), ignored);
  }
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
    : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0))) {
  if (descriptor_ < 0) fail("{}: cannot open{}: {}", path, direct ? " past the page cache" : "", reason());
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

void write_file_atomically(const std::string& path, std::string_view content) {
  const std::string temporary = fmt::format("{}.assay-tmp-{}", path, ::getpid());
  try {
    OutputFile file(temporary);
    file.write_at(0, std::as_bytes(std::span(content.data(), content.size())));
    file.close();
    if (::rename(temporary.c_str(), path.c_str()) != 0)
      fail("{}: cannot rename {} to it: {}", path, temporary, reason());
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_path(parent_of(path));
}

AtomicDirectory::AtomicDirectory(const std::string& path) : destination_(path) {
  if (!destination_.has_filename()) destination_ = destination_.parent_path();  // "out/" means "out"
  std::error_code problem;
  const fs::file_status status = fs::symlink_status(destination_, problem);
  if (fs::exists(status) && !(fs::is_directory(status) && fs::is_empty(destination_)))
    fail("{}: exists already; remove it or choose another name", destination_.string());
  const fs::path parent = parent_of(destination_);
  if (!fs::is_directory(parent, problem))
    fail("{}: its parent directory does not exist", destination_.string());
  const std::string prefix = "." + destination_.filename().string() + ".assay-tmp-";
  remove_leftovers(parent, prefix);
  staging_ = parent / (prefix + std::to_string(::getpid()));
  if (!fs::create_directory(staging_, problem))
    fail("{}: cannot create: {}", staging_.string(), problem ? problem.message() : "it exists already");
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(staging_, ignored);
}

void AtomicDirectory::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(staging_))
    if (entry.is_regular_file()) sync_path(entry.path());
  sync_path(staging_);
  if (::rename(staging_.c_str(), destination_.c_str()) != 0)
    fail("{}: cannot rename {} to it: {}", destination_.string(), staging_.string(), reason());
  committed_ = true;
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
