#pragma once
// Every weight that is encoded must be finite, whatever the format.
#include <optional>
#include <span>

namespace assay {

/// Index of the first infinite or NaN value, if any.
std::optional<std::size_t> first_non_finite(std::span<const float> values);

/// Throws Error naming the first value that is not finite.
void demand_finite(std::span<const float> values);

}  // namespace assay
