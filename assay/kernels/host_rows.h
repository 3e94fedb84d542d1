#pragma once
// Inside rows that lie in the host's memory: for the backends that compute there, not for the model.
#include <span>
#include <type_traits>

#include "assay/kernels/rows.h"

namespace assay {

/// All values, row-major. T is the element type of the rows.
template <class T>
std::span<T> host_values(const Rows& rows) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  assert(rows.element_ == (std::is_same_v<T, float> ? Element::f32 : Element::f64));
  return {reinterpret_cast<T*>(rows.data_), rows.size()};
}

/// f32 values in the caller's memory as rows.
inline Rows rows_over(std::span<float> values, std::size_t width) {
  assert(width > 0 && values.size() % width == 0);
  return {Element::f32, std::as_writable_bytes(values).data(), values.size() / width, width};
}

}  // namespace assay
