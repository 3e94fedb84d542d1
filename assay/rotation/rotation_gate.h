#pragma once
// What stands between a rotation and its use: the rotated checkpoint must undo to the original, element by
// element, and compute the same, both judged in f64 on the tensors as they are stored.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/rotation/hadamard.h"
#include "assay/rotation/rotation_plan.h"
#include "assay/storage/checkpoint.h"

namespace assay {

/// How far vectors a are from b: |a - b| / |b|, in the Euclidean norm.
struct Deviation {
  double largest = 0, mean = 0;
  std::string where;  // the largest
};

struct RotationGate {
  double tolerance = 1e-5;  // of every `largest`
  std::vector<std::int32_t> tokens;
  Deviation elements, hidden, logits;
};
OrderedJson gate_json(const RotationGate& gate);

/// Every tensor of the plan, un-rotated, against the source with its norms fused; b is a row or column that
/// the rotation turns. Throws Error beyond the tolerance, or when the tensors are not the plan's.
Deviation check_elements(const Checkpoint& source, const Checkpoint& rotated, const RotationPlan& plan,
                         const Rotation& rotation, double tolerance, ProgressSink* progress = nullptr);

struct ForwardDeviation {
  Deviation hidden, logits;
};
/// The residual stream after the embedding and after every block, un-rotated, and the logits of both models.
/// The source computes with its own norms and head: nothing is shared with the fusing that is judged. Throws
/// Error beyond the tolerance.
ForwardDeviation check_forward(const Checkpoint& source, const Checkpoint& rotated, const Rotation& rotation,
                               std::span<const std::int32_t> tokens, double tolerance);

/// Both checks, the second on eight tokens from all over the vocabulary. Throws Error.
RotationGate check_rotation(const Checkpoint& source, const Checkpoint& rotated, const RotationPlan& plan,
                            const Rotation& rotation, ProgressSink* progress = nullptr);

}  // namespace assay
