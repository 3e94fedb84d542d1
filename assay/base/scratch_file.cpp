#include "assay/base/scratch_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "assay/base/error.h"
#include "assay/base/temporary.h"

namespace assay {

ScratchFile::ScratchFile(const std::string& folder, std::uint64_t size) : ScratchFile() {
  std::error_code ignored;  // without a usable TMPDIR the next call says so
  folder_ = folder.empty() ? std::filesystem::temp_directory_path(ignored).string() : folder;
  descriptor_ = open_unnamed_file(folder_);
  if (descriptor_ < 0) refuse("create");
  if (size == 0) return;
  if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0) refuse("grow");
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (data == MAP_FAILED) refuse("map");
  bytes_ = {static_cast<const std::byte*>(data), size};
}

ScratchFile::~ScratchFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ScratchFile::write_at(std::uint64_t offset, Bytes values) const {
  while (!values.empty()) {
    const ssize_t put = ::pwrite(descriptor_, values.data(), values.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) refuse("write");
    offset += static_cast<std::uint64_t>(put);
    values = values.subspan(static_cast<std::size_t>(put));
  }
}

void ScratchFile::refuse(const char* what) const {
  fail("{}: cannot {} a temporary file in it: {}", folder_, what, std::generic_category().message(errno));
}

}  // namespace assay
