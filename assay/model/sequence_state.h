#pragma once
// What the forward pass needs to remember of one sequence; runtime/ implements it.
#include "assay/kernels/layer_state.h"

namespace assay {

class SequenceState {
 public:
  virtual ~SequenceState() = default;
  /// Tokens already held.
  virtual int length() const = 0;
  /// Makes room for `count` more tokens in every layer (throws Error beyond the limit); they become part of
  /// length() only with commit(), so a pass that fails leaves the sequence as it was.
  virtual void reserve(int count) = 0;
  virtual void commit(int count) = 0;
  /// What a layer keeps, made by the model's backend for ModelConfig::layer_state(layer).
  virtual LayerState& layer(int layer) = 0;
};

}  // namespace assay
