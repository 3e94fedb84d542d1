#pragma once
// What a sequence remembers, in f32: keys and values of layers of attention, and what delta nets carry.
#include <vector>

#include "assay/model/config.h"
#include "assay/model/sequence_state.h"

namespace assay {

class SequenceMemory final : public SequenceState {
 public:
  explicit SequenceMemory(const ModelConfig& config);

  int length() const override { return length_; }
  void reserve(int count) override;
  void commit(int count) override;
  std::span<float> keys(int layer) override { return layers_[static_cast<std::size_t>(layer)].keys; }
  std::span<float> values(int layer) override { return layers_[static_cast<std::size_t>(layer)].values; }
  Carry carry(int layer) override {
    Layer& at = layers_[static_cast<std::size_t>(layer)];
    return {at.before, at.after};
  }

  /// A point to come back to. Keys and values of earlier tokens never change, so only what delta nets carry
  /// is copied.
  struct Snapshot {
    int length = 0;
    std::vector<std::vector<float>> carried;  // of each layer
  };
  Snapshot snapshot() const;
  /// Forgets the tokens behind a snapshot of this sequence. A snapshot stays good until an earlier one is
  /// restored.
  void restore(const Snapshot& snapshot);
  /// Forgets the tokens from `length` on, where nothing is carried.
  bool can_rewind() const { return !carries_; }
  void rewind(int length);

 private:
  static constexpr int kStep = 64;  // positions
  struct Layer {
    bool attends = true;
    std::vector<float> keys, values;   // [capacity, width]
    std::vector<float> before, after;  // see Carry
  };

  std::size_t width_;
  int max_positions_;
  std::vector<Layer> layers_;
  bool carries_ = false;
  int length_ = 0, capacity_ = 0;
};

}  // namespace assay
