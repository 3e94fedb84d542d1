#pragma once
// Importance-weighted search for a unit's stored scale and bias, written once on the affine view of a format.
//
// For weights w and importance h the search lowers
//   J(scale, bias) = sum over the real elements of h * (w - decode(nearest code))^2
// where scale, bias and decode are those of the stored bytes. With h = 1 that is the squared error of the
// weights; with h the mean square of each input over calibration tokens it is the output error, were the
// inputs uncorrelated. J is not convex: starts on a grid of steps are each followed by a few rounds of
// nearest codes and weighted least squares, every one through storage rounding, and the best stored unit is
// kept. Unweighted, J may clip the few large weights that matter most: judge by output error or divergence,
// never by J alone.
//
// Candidate 0 is the format's own reference, so no unit ends with a larger J than the published rule gives
// it. Formats without an affine view, or whose rule is a clip that a search would erase, get their reference.
#include <cstdint>
#include <span>

#include "assay/formats/format.h"

namespace assay {

struct ScaleSearchOptions {
  // First steps tried, as factors of the smallest step that clips no weight. They bound the starts, not what
  // refining makes of them.
  double smallest = 0.4, largest = 1.4;
  int points = 64;      // how many, rounded up to a multiple of 8
  int refinements = 3;  // rounds of least squares from each start that is worth it
  // Where some of a unit's importance is zero, this much of its mean is added to all, so that no weight is
  // free. (A unit with no importance at all is searched with 1 for every weight.)
  double importance_floor = 1e-3;
};

struct SearchReport {
  std::uint64_t units = 0;
  std::uint64_t improved = 0;            // no longer as the reference has them
  std::uint64_t without_importance = 0;  // searched with 1 for every weight
  double reference_loss = 0, loss = 0;   // J of all searched units, with the importance that was used

  void add(const SearchReport& other);
};

/// Fits units one after the other; spans as for Format::reference (pad codes of a short last unit included:
/// the code of 0.0). `importance` has one value a weight, or is empty for 1. Adds to the report, if any.
/// Throws Error naming the element of a weight or an importance that is not finite (or an importance below
/// 0), and what reference() throws.
void search_units(const Format& format, std::span<const float> weights, std::span<const float> importance,
                  std::span<Params> params, std::span<Code> codes, const ScaleSearchOptions& options = {},
                  SearchReport* report = nullptr);

/// The same for whole units that share one importance, parameters alone: one group of columns of many rows,
/// each row's run after the other. `importance` has one value a column of the group, or is empty. Units that
/// share a record with others keep what they share: `params` are where their search starts, in place of the
/// reference.
void search_params(const Format& format, std::span<const float> weights, std::span<const float> importance,
                   std::span<Params> params, const ScaleSearchOptions& options = {},
                   SearchReport* report = nullptr);

}  // namespace assay
