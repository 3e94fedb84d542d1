#pragma once
// Is a reference what a model was made from? The model's manifest has the hashes of its source's weight files
// ("source") and of what that was made from in turn ("origins"). A distance from anything else is no damage,
// and the distance of a model from itself is none at all.
#include <string>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/storage/checkpoint.h"

namespace assay {

enum class ReferenceRelation {
  source,          // what the model was made from
  origin,          // what its source was made from, or further back
  not_verifiable,  // no manifest, or one that names no hashes
  same_files,      // the model itself
  other            // something else than the manifest names
};
std::string_view relation_name(ReferenceRelation relation);

struct ReferenceCheck {
  ReferenceRelation relation = ReferenceRelation::not_verifiable;
  std::string sentence;       // both models named, hashes where they differ
  bool source_known = false;  // the model's manifest names what it was made from
};
OrderedJson to_json(const ReferenceCheck& check);

/// Compares sizes first and hashes only files that may be equal. Throws Error for a malformed manifest.
ReferenceCheck check_reference(const Checkpoint& model, const Checkpoint& reference,
                               ProgressSink* progress = nullptr);

struct ReferenceRules {
  bool any = false;  // the user insists (--any-reference)
  bool same_is_refused =
      true;  // the model itself, also where no manifest names another: a gate would pass it
};
/// Throws Error with the sentence for a reference that `rules` do not allow.
void require_source(const ReferenceCheck& check, const ReferenceRules& rules);

}  // namespace assay
