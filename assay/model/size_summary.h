#pragma once
// Bits per weight always name their base: "linear" counts the matrices inside the blocks, "file" everything.
#include <cstdint>
#include <optional>

#include "assay/model/roles.h"

namespace assay {

struct SizeSummary {
  std::uint64_t linear_weights = 0, linear_bytes = 0, file_weights = 0, file_bytes = 0;

  void add(std::optional<Role> role, std::uint64_t weights, std::uint64_t bytes);
  double linear_bits() const;
  double file_bits() const;
};

/// What the checkpoint's tensors weigh as stored (headers not counted).
SizeSummary stored_size(const Checkpoint& checkpoint);

}  // namespace assay
