#pragma once
// Zeros and repetitions that a fault would hardly make: whole neurons, heads, experts or blocks. Pruned,
// block-expanded, upcycled and depth-extended models have them; without the original nobody can tell, so they
// are doubts (notes of the report), not findings.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "assay/audit/audit.h"

namespace assay {

struct AuditDoubts {
  using Matrices = std::set<std::pair<const TensorAudit*, std::size_t>>;  // number within a stack, else 0
  Matrices zero, repeated;
  std::set<const TensorAudit*> pruned;   // rows of zeros
  std::set<const TensorAudit*> thinned;  // columns of zeros may answer them: o_proj and down_proj
  std::vector<std::string> notes;
};

/// Looks at the facts alone; nothing is judged yet.
AuditDoubts find_doubts(const AuditReport& report, const Checkpoint& model);

}  // namespace assay
