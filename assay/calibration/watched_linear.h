#pragma once
// A matrix that multiplies as it always does and shows its inputs to somebody once.
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "assay/kernels/host_rows.h"
#include "assay/kernels/linear.h"

namespace assay {

class WatchedLinear final : public Linear {
 public:
  /// x[tokens, columns] of the first call; later ones are not shown.
  using Watcher = std::function<void(std::span<const float> x, std::size_t tokens)>;

  WatchedLinear(std::shared_ptr<const Linear> linear, Watcher watcher)
      : linear_(std::move(linear)), watcher_(std::move(watcher)) {}

  void forward(const Rows& x, const Rows& y) const override {
    if (const Watcher watcher = std::exchange(watcher_, nullptr)) watcher(host_values<float>(x), x.count());
    linear_->forward(x, y);
  }
  std::uint64_t rows() const override { return linear_->rows(); }
  std::uint64_t columns() const override { return linear_->columns(); }
  void row(std::uint64_t index, const Rows& out) const override { linear_->row(index, out); }
  std::string kernel() const override { return linear_->kernel(); }

 private:
  std::shared_ptr<const Linear> linear_;
  mutable Watcher watcher_;
};

}  // namespace assay
