#pragma once
// Layer states in the host's memory, as both backends that compute there keep them.
#include <algorithm>
#include <vector>

#include "assay/kernels/layer_state.h"

namespace assay {

template <class T>
class HostLayerState final : public LayerState {
 public:
  explicit HostLayerState(const LayerStateShape& shape)
      : width_(shape.kv_width), before_(shape.carried), after_(shape.carried) {}

  void reserve(std::size_t positions) override {
    if (positions * width_ <= keys_.size()) return;
    keys_.resize(positions * width_);
    values_.resize(positions * width_);
  }
  void commit() override { before_.swap(after_); }

  void copy_prefix(const LayerState& from, std::size_t positions) override {
    const auto& other = static_cast<const HostLayerState&>(from);
    std::copy_n(other.keys_.begin(), positions * width_, keys_.begin());
    std::copy_n(other.values_.begin(), positions * width_, values_.begin());
  }

  struct Carried final : CarriedState {
    std::vector<T> values;
  };
  std::shared_ptr<const CarriedState> carried() const override {
    auto saved = std::make_shared<Carried>();
    saved->values = before_;
    return saved;
  }
  void restore(const CarriedState& carried) override {
    before_ = static_cast<const Carried&>(carried).values;
  }

  std::size_t positions() const { return width_ == 0 ? 0 : keys_.size() / width_; }
  T* keys() { return keys_.data(); }                  // [positions, kv_width]
  T* values() { return values_.data(); }              // likewise
  const T* before() const { return before_.data(); }  // [carried]
  T* after() { return after_.data(); }                // [carried]

 private:
  std::size_t width_;
  std::vector<T> keys_, values_;
  std::vector<T> before_, after_;
};

template <class T>
HostLayerState<T>& host_state(const LayerChunk& chunk) {
  return static_cast<HostLayerState<T>&>(*chunk.state);
}

}  // namespace assay
