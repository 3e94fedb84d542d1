#pragma once
// assay.json: what a quantised model is made of. Source hashes, recipe, method and error of every tensor,
// measured loss, versions. Readers of the Assay container cross-check the planes against it.
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/quantize/quantizer.h"

namespace assay {

struct ManifestInput {
  const Recipe& recipe;
  const Plan& plan;
  const std::vector<TensorReport>& reports;
  Container container;
  TextRecords texts = {};  // that it and its ancestors were made on
  ProgressSink* progress = nullptr;
};

/// The manifest before anything is measured ("measurements" is an empty list). Reads the source's files to
/// hash them.
OrderedJson make_manifest(const ManifestInput& input);

}  // namespace assay
