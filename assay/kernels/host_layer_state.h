#pragma once
// Layer states in the host's memory, as both backends that compute there keep them.
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "assay/kernels/layer_state.h"

namespace assay {

template <class T>
class HostLayerState final : public LayerState {
 public:
  explicit HostLayerState(const LayerStateShape& shape)
      : heads_(shape.kv_heads), dim_(shape.head_dim), before_(shape.carried), after_(shape.carried) {}

  void reserve(std::size_t positions) override {
    if (positions <= positions_ || heads_ * dim_ == 0) return;
    for (std::vector<T>* values : {&keys_, &values_}) {
      std::vector<T> grown(heads_ * positions * dim_);
      for (std::size_t head = 0; head < heads_; ++head)
        std::copy_n(values->begin() + offset(head, positions_), positions_ * dim_,
                    grown.begin() + offset(head, positions));
      *values = std::move(grown);
    }
    positions_ = positions;
  }
  void commit() override { before_.swap(after_); }

  void copy_prefix(const LayerState& from, std::size_t positions) override {
    const auto& other = static_cast<const HostLayerState&>(from);
    for (std::size_t head = 0; head < heads_; ++head) {
      const auto there = offset(head, other.positions_), here = offset(head, positions_);
      std::copy_n(other.keys_.begin() + there, positions * dim_, keys_.begin() + here);
      std::copy_n(other.values_.begin() + there, positions * dim_, values_.begin() + here);
    }
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

  std::size_t positions() const { return positions_; }  // that there is room for
  /// Of a key/value head [positions, head_dim]: a query reads them from end to end.
  T* keys(std::size_t head) { return keys_.data() + offset(head, positions_); }
  T* values(std::size_t head) { return values_.data() + offset(head, positions_); }
  /// Keys and values [kv_heads, head_dim] of one position.
  void put(std::size_t position, const T* keys, const T* values) {
    for (std::size_t head = 0; head < heads_; ++head) {
      std::copy_n(keys + head * dim_, dim_, this->keys(head) + position * dim_);
      std::copy_n(values + head * dim_, dim_, this->values(head) + position * dim_);
    }
  }
  const T* before() const { return before_.data(); }  // [carried]
  T* after() { return after_.data(); }                // [carried]

 private:
  std::ptrdiff_t offset(std::size_t head, std::size_t positions) const {
    return static_cast<std::ptrdiff_t>(head * positions * dim_);
  }

  std::size_t heads_, dim_, positions_ = 0;
  std::vector<T> keys_, values_;  // [kv_heads, positions, head_dim]
  std::vector<T> before_, after_;
};

template <class T>
HostLayerState<T>& host_state(const LayerChunk& chunk) {
  return static_cast<HostLayerState<T>&>(*chunk.state);
}

}  // namespace assay
