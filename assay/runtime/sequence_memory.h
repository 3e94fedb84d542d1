#pragma once
// What a sequence remembers, layer by layer, in the memory of the backend that computes with it.
#include <memory>
#include <vector>

#include "assay/kernels/ops.h"
#include "assay/model/config.h"
#include "assay/model/sequence_state.h"

namespace assay {

class SequenceMemory final : public SequenceState {
 public:
  explicit SequenceMemory(const ModelConfig& config, const Ops& ops = cpu_ops());

  int length() const override { return length_; }
  void reserve(int count) override;
  void commit(int count) override;
  LayerState& layer(int layer) override { return *layers_[static_cast<std::size_t>(layer)]; }

  /// A point to come back to. Keys and values of earlier tokens never change, so only what delta nets carry
  /// is copied.
  struct Snapshot {
    int length = 0;
    std::vector<std::shared_ptr<const CarriedState>> carried;  // of each layer
  };
  Snapshot snapshot() const;
  /// Forgets the tokens behind a snapshot of this sequence. A snapshot stays good until an earlier one is
  /// restored.
  void restore(const Snapshot& snapshot);
  /// An empty sequence becomes the first `length` tokens of another of the same model, where nothing is
  /// carried.
  void take_prefix(const SequenceMemory& other, int length);
  /// Forgets the tokens from `length` on, where nothing is carried.
  bool can_rewind() const { return !carries_; }
  void rewind(int length);

 private:
  static constexpr int kStep = 64;  // positions

  int max_positions_;
  std::vector<std::unique_ptr<LayerState>> layers_;
  bool carries_ = false;
  int length_ = 0, capacity_ = 0;
};

}  // namespace assay
