#pragma once
// A file without a name, mapped: what is too large for anonymous memory fills the page cache and a disk, and
// goes when its last user does.
#include <cstdint>
#include <string>

#include "assay/base/bytes.h"

namespace assay {

class ScratchFile {
 public:
  /// `size` bytes, zero at first, in `folder` ("": TMPDIR). Throws Error.
  ScratchFile(const std::string& folder, std::uint64_t size);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  Bytes bytes() const { return bytes_; }
  /// By offset and not through the mapping, because a full disk is then an Error and no signal. Any thread.
  void write_at(std::uint64_t offset, Bytes values) const;

 private:
  ScratchFile() = default;
  [[noreturn]] void refuse(const char* what) const;

  std::string folder_;
  int descriptor_ = -1;
  Bytes bytes_;
};

}  // namespace assay
