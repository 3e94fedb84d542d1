#pragma once
// Does a checkpoint hold what it says it holds? Every tensor is looked at as it lies there and, with the
// original at hand, beside it; what cannot be right is named, worst first. Limits are generous: a sound
// model, however it was rounded, passes.
#include <optional>
#include <string>
#include <vector>

#include "assay/audit/router_agreement.h"
#include "assay/audit/tensor_facts.h"
#include "assay/base/json.h"
#include "assay/kernels/context.h"
#include "assay/model/roles.h"
#include "assay/storage/checkpoint.h"

namespace assay {

struct Suspicion {
  std::string kind;  // "swapped_scales_and_biases", "wrong_row", ...: see audit.cpp
  std::string why;   // one line with what was found and what was expected
  double rank = 1;   // how far beyond its limit, at least 1
};

struct TensorAudit {
  std::string name, format;
  Role role = Role::norm;
  Shape shape;
  double bits_per_weight = 0;
  std::optional<TensorFacts> facts;       // none: could not be read
  std::optional<ComparedFacts> compared;  // with the original
  std::vector<Suspicion> suspicions;      // by falling rank
};

struct AuditReport {
  std::string model, original;             // paths; "" without an original
  std::vector<TensorAudit> tensors;        // sorted by name
  std::vector<Suspicion> of_checkpoint;    // missing and foreign tensors, repeated matrices
  std::vector<std::string> notes;          // warnings of the reader; what was not looked at, and why
  std::optional<RouterAgreement> routing;  // with the original's routers

  bool sound() const;
  OrderedJson to_json() const;
};

/// `original` may be null. A rotated checkpoint is not compared tensor by tensor: a note says so. Throws
/// Error only for what makes an audit impossible; a tensor that cannot be read is a finding.
AuditReport audit_checkpoint(const Checkpoint& model, const Checkpoint* original,
                             const Context& context = {});

/// Runs both models of a mixture of experts and adds what their routers have in common; a finding when it is
/// hardly more than chance. A note instead, when one of them cannot be run.
void add_router_agreement(AuditReport& report, const CheckpointPtr& model, const CheckpointPtr& original,
                          const Context& context = {});

/// The findings, then a line for every format; and a page with a heat map of all tensors.
std::string audit_text(const AuditReport& report);
std::string audit_html(const AuditReport& report);

}  // namespace assay
