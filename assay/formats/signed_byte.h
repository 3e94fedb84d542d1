#pragma once
// Codes stored as two's complement bytes.
#include "assay/formats/format.h"

namespace assay {

inline Code sign_extended(std::byte stored) {
  return (std::to_integer<Code>(stored) ^ 128) - 128;
}

}  // namespace assay
