#pragma once
// Large arrays of f32 that live as long as one step: uninitialised memory, or, beyond the budget of a
// SpillScope, pages of an unnamed file that the system writes out and reads back as it must.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace assay {

class FloatBuffer {
 public:
  FloatBuffer() = default;
  /// Throws Error when the file cannot be made (disk full), std::bad_alloc when the memory cannot.
  explicit FloatBuffer(std::size_t count);
  ~FloatBuffer() { release(); }
  FloatBuffer(FloatBuffer&& other) noexcept;
  FloatBuffer& operator=(FloatBuffer&& other) noexcept;

  std::size_t size() const { return count_; }
  float* data() { return data_; }
  const float* data() const { return data_; }
  operator std::span<float>() { return {data_, count_}; }
  operator std::span<const float>() const { return {data_, count_}; }
  void release();

 private:
  float* data_ = nullptr;
  std::size_t count_ = 0;
  bool mapped_ = false;
};

/// While it lives, buffers that would take those alive beyond `budget` bytes are files in `directory`
/// (removed by the system when the buffer goes). One at a time.
class SpillScope {
 public:
  SpillScope(std::string directory, std::uint64_t budget);
  ~SpillScope();
  SpillScope(const SpillScope&) = delete;
  SpillScope& operator=(const SpillScope&) = delete;

  /// Bytes in files so far, over all buffers.
  static std::uint64_t spilled();
};

}  // namespace assay
