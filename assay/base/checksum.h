#pragma once
// A fast checksum against damage, not against malice: XXH3, 64 bits (libxxhash).
#include <cstdint>
#include <span>

#include "assay/base/bytes.h"

namespace assay {

/// Of the concatenation of all pieces.
std::uint64_t checksum_of(std::span<const Bytes> pieces);

}  // namespace assay
