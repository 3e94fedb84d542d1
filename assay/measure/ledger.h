#pragma once
// Measurements kept in a model's own manifest (assay.json), so that a model carries what is known about it.
#include <string>

#include "assay/base/json.h"

namespace assay {

/// Appends to "measurements" of the directory's assay.json and replaces the file atomically; everything else
/// in it stays. Throws Error when there is no manifest or it is malformed.
void append_measurement(const std::string& assay_directory, const OrderedJson& measurement);

}  // namespace assay
