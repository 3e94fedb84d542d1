#pragma once
// Offline rotation of the residual stream (R1 of QuaRot, arXiv 2404.00456), as a transformation of a source:
// a checkpoint in, one of the same function in a rotated basis out. Norm weights are fused into the matrices
// that read the norm's output (a diagonal does not commute with R), a tied head becomes a tensor of its own,
// readers W become W R^T, writers R W, embedding rows and writers' biases R x. Llama and dense Qwen3.
#include <cstdint>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/kernels/context.h"
#include "assay/rotation/hadamard.h"
#include "assay/rotation/rotation_gate.h"
#include "assay/rotation/rotation_plan.h"
#include "assay/storage/checkpoint.h"

namespace assay {

inline constexpr int kRotationVersion = 1;

/// How far from symmetric around zero a matrix is. Below 5 % row_mean matters little; symmetric formats lose
/// by the asymmetry of their groups.
struct Symmetry {
  /// Mean over rows of |mean of the row|, over the largest |weight|.
  double row_mean = 0;
  /// Mean over groups of 32 in a row of |min + max| / (max - min); groups of one value are left out.
  double group_skew = 0;
};

/// Of a tensor as it is stored, a few rows at a time.
Symmetry symmetry_of(const Tensor& tensor);
OrderedJson symmetry_json(const Symmetry& symmetry);

struct RotatedTensor {
  std::string name;
  Symmetry fused, rotated;  // before and after the rotation
};

/// The plan carried out, ungated: tensors in f32 (computed in f64) in an unnamed file of scratch_directory
/// ("" = the system's temporary folder), mapped; tensors that are kept stay views into the source's files.
/// Memory: one writer matrix in f32 and a few panels. One entry of `tensors` a rotated matrix.
CheckpointPtr apply_rotation(const CheckpointPtr& source, const RotationPlan& plan, const Rotation& rotation,
                             const std::string& scratch_directory, std::vector<RotatedTensor>* tensors,
                             ProgressSink* progress = nullptr);

struct RotationOptions {
  RotationKind kind = RotationKind::hadamard;
  std::uint64_t seed = kRotationSeed;
  std::string scratch_directory = {};  // as above
  Context context = {};
};

/// What a manifest records of a rotation.
struct RotationReport {
  RotationKind kind = RotationKind::hadamard;
  std::uint64_t seed = 0;
  std::size_t size = 0, block = 0;  // of the rotation
  bool untied = false;
  std::uint64_t untied_weights = 0, untied_bytes = 0;  // what the head adds, in the embedding's stored format
  RotationGate gate;
  std::vector<RotatedTensor> tensors;
};
OrderedJson rotation_json(const RotationReport& report);

/// plan_rotation, apply_rotation and the gate. `files` stay the source's, for its manifest to hash; the
/// config records the rotation under kRotationKey. Throws Error: as plan_rotation, a hidden size with no
/// rotation, a gate that refuses.
CheckpointPtr rotate_checkpoint(const CheckpointPtr& source, const RotationOptions& options,
                                RotationReport* report = nullptr);

}  // namespace assay
