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
};

/// The manifest before anything is measured ("measurements" is an empty list). Reads the source's files to
/// hash them.
OrderedJson make_manifest(const ManifestInput& input);

/// [{"name", "bytes", "sha256"}] of files.
OrderedJson hash_files(const std::vector<std::string>& paths);

/// One hash of what a model is: its weight files, whatever they are called, and its configuration. What is
/// measured on a model and kept bears it.
std::string content_identity(const Checkpoint& checkpoint);

/// Of a manifest what holds for every model that is made of this one: its texts, and what it came from.
std::optional<Json> inherited_manifest(const Checkpoint& checkpoint);

}  // namespace assay
