#pragma once
// What one layer keeps of one sequence: keys and values, or what a delta net carries. Made by a backend,
// opaque to everybody else: f16, paged or device memory change nothing above.
#include <cstddef>
#include <memory>

namespace assay {

struct LayerStateShape {
  std::size_t kv_heads = 0, head_dim = 0;  // 0: no attention
  std::size_t carried = 0;                 // values that a delta net carries; 0: none
};

/// What a delta net carried at some point, to come back to.
class CarriedState {
 public:
  virtual ~CarriedState() = default;
};

class LayerState {
 public:
  virtual ~LayerState() = default;
  /// Room for keys and values of `positions` positions in all; what is there stays.
  virtual void reserve(std::size_t positions) = 0;
  /// What operations wrote behind the sequence becomes what they find (zeros at the start). So a pass that
  /// fails leaves the sequence as it was.
  virtual void commit() = 0;
  /// The keys and values of the first `positions` positions of another state of the same shape and backend,
  /// for which there is room.
  virtual void copy_prefix(const LayerState& from, std::size_t positions) = 0;
  virtual std::shared_ptr<const CarriedState> carried() const = 0;
  virtual void restore(const CarriedState& carried) = 0;
};

/// A chunk of a batch as operations of one layer see it.
struct LayerChunk {
  LayerState* state;      // has room for `count` more positions
  std::size_t start;      // position of the chunk's first token in its sequence
  std::size_t count;      // tokens
  std::size_t first_row;  // row of its first token in the batch
};

}  // namespace assay
