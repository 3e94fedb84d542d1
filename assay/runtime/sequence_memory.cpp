#include "assay/runtime/sequence_memory.h"

#include <algorithm>
#include <cassert>

#include "assay/base/error.h"
#include "assay/runtime/session.h"

namespace assay {

SequenceMemory::SequenceMemory(const ModelConfig& config, const Ops& ops)
    : max_positions_(config.max_positions) {
  for (int layer = 0; layer < static_cast<int>(config.blocks.size()); ++layer) {
    const LayerStateShape shape = config.layer_state(layer);
    layers_.push_back(ops.layer_state(shape));
    carries_ = carries_ || shape.carried > 0;
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
  for (const auto& layer : layers_) layer->reserve(static_cast<std::size_t>(capacity_));
}

void SequenceMemory::commit(int count) {
  assert(count >= 0 && length_ + count <= capacity_);
  length_ += count;
  if (count == 0) return;  // nothing was written behind
  for (const auto& layer : layers_) layer->commit();
}

SequenceMemory::Snapshot SequenceMemory::snapshot() const {
  Snapshot snapshot{length_, {}};
  if (carries_)
    for (const auto& layer : layers_) snapshot.carried.push_back(layer->carried());
  return snapshot;
}

void SequenceMemory::restore(const Snapshot& snapshot) {
  assert(snapshot.length <= length_);
  length_ = snapshot.length;
  for (std::size_t i = 0; i < snapshot.carried.size(); ++i) layers_[i]->restore(*snapshot.carried[i]);
}

void SequenceMemory::take_prefix(const SequenceMemory& other, int length) {
  assert(length_ == 0 && can_rewind() && length <= other.length_);
  reserve(length);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->copy_prefix(*other.layers_[i], static_cast<std::size_t>(length));
  length_ = length;
}

void SequenceMemory::rewind(int length) {
  assert(can_rewind() && length >= 0 && length <= length_);
  length_ = length;
}

std::unique_ptr<SequenceState> make_sequence_state(const Model& model) {
  return std::make_unique<SequenceMemory>(model.config(), model.ops());
}

}  // namespace assay
