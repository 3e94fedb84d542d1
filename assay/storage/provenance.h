#pragma once
// What a model is and where it came from: hashes of its files, and what manifests hand on.
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/storage/checkpoint.h"

namespace assay {

/// [{"name", "bytes", "sha256"}] of files.
OrderedJson hash_files(const std::vector<std::string>& paths, ProgressSink* progress = nullptr);

/// One hash of what a model is: its weight files, whatever they are called, and its configuration. What is
/// measured on a model and kept bears it.
std::string content_identity(const Checkpoint& checkpoint, ProgressSink* progress = nullptr);

/// Of a manifest what holds for every model that is made of this one: its texts, and what it came from.
std::optional<Json> inherited_manifest(const Checkpoint& checkpoint);

}  // namespace assay
