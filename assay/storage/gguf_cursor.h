#pragma once
// Reading forward through the bytes of a GGUF file: nothing is read, and no memory is asked for, beyond its
// end.
#include <cstdint>
#include <string>
#include <string_view>

#include "assay/base/bytes.h"
#include "assay/base/error.h"

namespace assay {

class GgufCursor {
 public:
  GgufCursor(Bytes bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  /// `what` names the thing read in the message of a truncated file.
  Bytes take(std::uint64_t count, std::string_view what) {
    if (count > remaining())
      fail("{}: byte {}: {} needs {} bytes, {} are left (truncated)", path_, position_, what, count,
           remaining());
    const Bytes taken = bytes_.subspan(position_, static_cast<std::size_t>(count));
    position_ += taken.size();
    return taken;
  }

  template <class T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what).data());
  }

  /// A count of things of at least `smallest` bytes each: bounded before anything is reserved for them.
  std::size_t count(std::size_t smallest, std::string_view what) {
    const auto stored = number<std::uint64_t>(what);
    if (stored > remaining() / smallest)
      fail("{}: byte {}: {} is {}, the rest of the file has room for {}", path_, position_ - 8, what, stored,
           remaining() / smallest);
    return static_cast<std::size_t>(stored);
  }

  /// A length and so many bytes of UTF-8.
  std::string_view string(std::string_view what);

  const std::string& path() const { return path_; }

 private:
  Bytes bytes_;
  std::string path_;
  std::size_t position_ = 0;
};

/// Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);

}  // namespace assay
