#pragma once
// Running a model block by block over the calibration windows.
#include <span>
#include <vector>

#include "assay/calibration/calibration_text.h"
#include "assay/model/model.h"

namespace assay {

/// All windows at once through one block after the other. Memory: hidden rows of all windows and the
/// activations of one block.
class BlockRun {
 public:
  /// All must outlive the object.
  /// `memory`: where activations lie. The model computes in f32 in the host's memory.
  BlockRun(const Model& model, const CalibrationText& text, MemorySource& memory = heap_memory());
  ~BlockRun();
  BlockRun(const BlockRun&) = delete;
  BlockRun& operator=(const BlockRun&) = delete;

  void start();                                  // at the embedding
  void start_at(std::span<const float> hidden);  // at the rows behind some block
  void forward(int block);
  std::span<const float> hidden() const;  // [tokens, hidden]

 private:
  class State;
  const Model& model_;
  std::vector<State> states_;
  std::vector<Chunk> batch_;
  Workspace workspace_;
  OwnedRows hidden_;
};

}  // namespace assay
