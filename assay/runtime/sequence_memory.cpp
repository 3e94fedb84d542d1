#include <algorithm>
#include <cassert>
#include <vector>

#include "assay/base/error.h"
#include "assay/runtime/session.h"

namespace assay {

namespace {

/// Keys and values of layers of attention and what delta nets carry, in f32.
class SequenceMemory final : public SequenceState {
 public:
  explicit SequenceMemory(const ModelConfig& config)
      : width_(static_cast<std::size_t>(config.kv_heads) * static_cast<std::size_t>(config.head_dim)),
        max_positions_(config.max_positions),
        layers_(config.blocks.size()) {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const std::uint64_t carried = config.carry_floats(config.blocks[i].mixer);
      layers_[i].attends = carried == 0;
      layers_[i].before.resize(carried);
      layers_[i].after.resize(carried);
    }
  }

  int length() const override { return length_; }

  void reserve(int count) override {
    assert(count >= 0);
    if (count > max_positions_ - length_)
      fail("the sequence would grow to {} tokens, the model holds {} (max_position_embeddings)",
           std::int64_t{length_} + count, max_positions_);
    const int needed = length_ + count;
    if (needed <= capacity_) return;
    // Grown by half, in steps: amortised, and a short chat in a long-context model stays small.
    const int wanted = std::max(needed, capacity_ + capacity_ / 2);
    const int rounded = (wanted - 1) / kStep * kStep + kStep;
    capacity_ = std::min(rounded, max_positions_);
    for (Layer& layer : layers_) {
      if (!layer.attends) continue;
      layer.keys.resize(static_cast<std::size_t>(capacity_) * width_);
      layer.values.resize(static_cast<std::size_t>(capacity_) * width_);
    }
  }

  void commit(int count) override {
    assert(count >= 0 && length_ + count <= capacity_);
    length_ += count;
    if (count == 0) return;  // nothing was written behind
    for (Layer& layer : layers_) layer.before.swap(layer.after);
  }

  std::span<float> keys(int layer) override { return layers_[static_cast<std::size_t>(layer)].keys; }
  std::span<float> values(int layer) override { return layers_[static_cast<std::size_t>(layer)].values; }
  Carry carry(int layer) override {
    Layer& at = layers_[static_cast<std::size_t>(layer)];
    return {at.before, at.after};
  }

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
  int length_ = 0, capacity_ = 0;
};

}  // namespace

std::unique_ptr<SequenceState> make_sequence_state(const ModelConfig& config) {
  return std::make_unique<SequenceMemory>(config);
}

}  // namespace assay
