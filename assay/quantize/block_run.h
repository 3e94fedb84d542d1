#pragma once
// Running a model block by block over the calibration windows, and the Hessians of what its matrices see.
#include <cstdint>
#include <span>
#include <vector>

#include "assay/base/float_buffer.h"
#include "assay/model/model.h"
#include "assay/quantize/calibration_text.h"
#include "assay/quantize/hessian.h"

namespace assay {

/// Hands out the Hessian of inputs. Matrices with the same inputs (q, k, v; gate, up) follow one another and
/// share one, found by content.
class HessianCache {
 public:
  const Hessian& of(std::span<const float> x, std::size_t tokens, std::size_t columns);

 private:
  Hessian hessian_;
  std::uint64_t hash_ = 0;
};

/// All windows at once through one block after the other. Memory: hidden rows of all windows and the
/// activations of one block.
class BlockRun {
 public:
  /// Both must outlive the object.
  BlockRun(const Model& model, const CalibrationText& text);
  ~BlockRun();
  BlockRun(const BlockRun&) = delete;
  BlockRun& operator=(const BlockRun&) = delete;

  void start();                                  // at the embedding
  void start_at(std::span<const float> hidden);  // at the rows behind some block
  void forward(int block);
  std::span<const float> hidden() const { return hidden_; }  // [tokens, hidden]

 private:
  class State;
  const Model& model_;
  std::vector<State> states_;
  std::vector<Chunk> batch_;
  FloatBuffer hidden_;
};

}  // namespace assay
