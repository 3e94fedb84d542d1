#pragma once
// Does every tensor hold the bytes that were written?
#include "assay/storage/checkpoint.h"

namespace assay {

/// Compares every tensor that has a checksum (assay.json) with it, side by side. `without_experts`: those are
/// checked by who reads them. Throws Error naming one that is damaged.
void require_checksums(const Checkpoint& checkpoint, bool without_experts = false);

}  // namespace assay
