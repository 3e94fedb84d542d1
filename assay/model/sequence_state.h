#pragma once
// What the forward pass needs to remember of one sequence; runtime/ implements it.
#include <span>

namespace assay {

class SequenceState {
 public:
  virtual ~SequenceState() = default;
  /// Tokens already held.
  virtual int length() const = 0;
  /// Makes room for `count` more tokens in every layer (throws Error beyond the limit); they become part of
  /// length() only with commit().
  virtual void reserve(int count) = 0;
  virtual void commit(int count) = 0;
  /// Keys / values of one layer of attention: [capacity, kv_heads * head_dim] row-major, rows
  /// 0 .. length()+count-1 usable.
  virtual std::span<float> keys(int layer) = 0;
  virtual std::span<float> values(int layer) = 0;

  /// ModelConfig::carry_floats of one layer: as they are behind length() tokens (zeros at the start), and
  /// where they go behind the reserved ones, which only commit() makes the state. So a pass that fails
  /// leaves the sequence as it was.
  struct Carry {
    std::span<const float> before;
    std::span<float> after;
  };
  virtual Carry carry(int layer) = 0;
};

}  // namespace assay
