#pragma once
// Fast checksums against damage, not against malice: XXH3 (libxxhash).
#include <cstdint>
#include <span>
#include <string>

#include "assay/base/bytes.h"
#include "assay/base/json.h"

namespace assay {

/// Of the concatenation of all pieces, 64 bits.
std::uint64_t checksum_of(std::span<const Bytes> pieces);

/// 128 bits, as 32 hexadecimal digits.
std::string checksum128_hex(std::span<const Bytes> pieces);

/// What a JSON object calls the checksum over all else that it says.
constexpr const char* kSealKey = "xxh3_128";

/// The object with a checksum over itself: for what is kept to be read again.
OrderedJson sealed(OrderedJson object);

/// Throws Error when the object has no such checksum, or another one: `origin` was damaged or edited.
void require_seal(const Json& object, const std::string& origin);

}  // namespace assay
