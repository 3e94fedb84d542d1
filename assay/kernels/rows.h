#pragma once
// Activations as the model sees them: rows of equal width, somewhere. Who composes operations passes them on;
// only a backend and who asks it (ops.h: read, write, on_host) looks inside.
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

namespace assay {

/// Of activations: float32 on the fast backends, float64 on the reference.
enum class Element : std::uint8_t { f32, f64 };
inline std::size_t element_bytes(Element element) {
  return element == Element::f32 ? sizeof(float) : sizeof(double);
}

/// A view of activations [count, width], row-major and without gaps. The memory is a Workspace's or a
/// OwnedRows's.
class Rows {
 public:
  Rows() = default;
  Rows(Element element, std::byte* data, std::size_t count, std::size_t width)
      : data_(data), count_(count), width_(width), element_(element) {}

  std::size_t count() const { return count_; }
  std::size_t width() const { return width_; }
  std::size_t size() const { return count_ * width_; }
  Element element() const { return element_; }

  /// Rows [first, first + count).
  Rows range(std::size_t first, std::size_t count) const {
    assert(first <= count_ && count <= count_ - first);
    return {element_, data_ + first * width_ * element_bytes(element_), count, width_};
  }
  Rows last(std::size_t count) const { return range(count_ - count, count); }
  /// The same values as rows of another width: heads of a token as rows of their own.
  Rows split(std::size_t width) const {
    assert(width > 0 && size() % width == 0);
    return {element_, data_, size() / width, width};
  }

 private:
  template <class T>
  friend std::span<T> host_values(const Rows& rows);

  std::byte* data_ = nullptr;
  std::size_t count_ = 0, width_ = 0;
  Element element_ = Element::f32;
};

}  // namespace assay
