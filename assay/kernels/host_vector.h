#pragma once
#include <span>
#include <vector>

#include "assay/kernels/ops.h"

namespace assay {

/// Weights of an operation in the host's memory.
template <class T>
class HostVector final : public Vector {
 public:
  explicit HostVector(std::span<const double> values) {
    values_.reserve(values.size());
    for (const double value : values) values_.push_back(static_cast<T>(value));
  }
  std::size_t size() const override { return values_.size(); }
  std::span<const T> values() const { return values_; }

 private:
  std::vector<T> values_;
};

template <class T>
std::span<const T> host_values(const Vector& vector) {
  return static_cast<const HostVector<T>&>(vector).values();
}

}  // namespace assay
