#pragma once
// One group of matrices at a time: collect the second moments of their common inputs, round each matrix under
// them, put what it became in its place. Inputs therefore come from the prefix as it was rounded, within a
// block too, and one pass over the model does it. Groups come in the order of the forward pass and experts in
// their own, so that what is done is the same for any number of threads.
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "assay/base/progress.h"
#include "assay/calibration/resume_store.h"
#include "assay/kernels/ops.h"
#include "assay/model/weights.h"
#include "assay/recipes/plan.h"
#include "assay/rounding/calibrated_rounding.h"

namespace assay {

/// What a calibrated matrix became: a tensor, or of a stack of experts the rows from `first_row` on. Its
/// planes as stored, and what it cost.
struct CalibratedTensor {
  std::uint64_t first_row = 0;
  std::vector<std::vector<std::byte>> planes;
  RoundingError error;  // of the weights
  CalibratedRoundingReport report;
};

/// Told each matrix (index into plan.tensors) as soon as it is done.
using CalibratedTensorSink = std::function<void(std::size_t tensor, const CalibratedTensor&)>;

class LayerStages {
 public:
  /// All must outlive it. `store` may be null.
  LayerStages(const Plan& plan, const CalibratedRoundingOptions& options, ResumeStore* store,
              const CalibratedTensorSink& sink, ProgressSink* progress = nullptr);
  ~LayerStages();
  LayerStages(const LayerStages&) = delete;
  LayerStages& operator=(const LayerStages&) = delete;

  /// What stands in the model where a calibrated matrix will. Throws Error: an expert that begins inside a
  /// block of its format.
  std::shared_ptr<const Linear> place(std::size_t tensor, const MatrixPlace& place, PackedMatrix source);
  /// Matrices about to multiply x: those that wait for their inputs are rounded and replaced.
  void before(std::span<const Linear* const> group, const Rows& x);
  /// The block has run: what no token came by is rounded by its weights, and rounded matrices are forgotten.
  void finish_block(int block);
  /// A block that an earlier run has finished, from the store.
  void restore_block(int block);

 private:
  class Matrix;
  void round(Matrix& matrix, const Hessian* hessian, std::size_t tokens);

  const Plan& plan_;
  const CalibratedRoundingOptions& options_;
  ResumeStore* store_;
  const CalibratedTensorSink& sink_;
  Progress progress_;
  std::map<int, std::vector<std::shared_ptr<Matrix>>> blocks_;
  std::map<const Linear*, Matrix*> matrices_;
  std::map<std::size_t, std::size_t> of_tensor_;  // matrices of each tensor so far: several of a stack
};

}  // namespace assay
