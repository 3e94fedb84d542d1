#include "assay/runtime/sequence_memory.h"

#include <algorithm>
#include <cassert>

#include "assay/base/error.h"
#include "assay/runtime/session.h"

namespace assay {

SequenceMemory::SequenceMemory(const ModelConfig& config)
    : width_(static_cast<std::size_t>(config.kv_heads) * static_cast<std::size_t>(config.head_dim)),
      max_positions_(config.max_positions),
      layers_(config.blocks.size()) {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const std::uint64_t carried = config.carry_floats(config.blocks[i].mixer);
    layers_[i].attends = carried == 0;
    layers_[i].before.resize(carried);
    layers_[i].after.resize(carried);
    carries_ = carries_ || carried > 0;
  }
}

void SequenceMemory::reserve(int count) {
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

void SequenceMemory::commit(int count) {
  assert(count >= 0 && length_ + count <= capacity_);
  length_ += count;
  if (count == 0) return;  // nothing was written behind
  for (Layer& layer : layers_) layer.before.swap(layer.after);
}

SequenceMemory::Snapshot SequenceMemory::snapshot() const {
  Snapshot snapshot{length_, {}};
  for (const Layer& layer : layers_) snapshot.carried.push_back(layer.before);
  return snapshot;
}

void SequenceMemory::restore(const Snapshot& snapshot) {
  assert(snapshot.length <= length_ && snapshot.carried.size() == layers_.size());
  length_ = snapshot.length;
  for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i].before = snapshot.carried[i];
}

void SequenceMemory::rewind(int length) {
  assert(can_rewind() && length >= 0 && length <= length_);
  length_ = length;
}

std::unique_ptr<SequenceState> make_sequence_state(const ModelConfig& config) {
  return std::make_unique<SequenceMemory>(config);
}

}  // namespace assay
