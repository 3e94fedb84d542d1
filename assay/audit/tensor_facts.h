#pragma once
// What a tensor looks like as it lies in its file, and beside its original: one pass over its rows each.
// Facts only; audit.h judges them.
#include <cstdint>
#include <string>
#include <vector>

#include "assay/storage/tensor.h"

namespace assay {

struct TensorFacts {
  std::uint64_t rows = 0, columns = 0;
  double rms = 0, largest = 0;
  std::uint64_t not_finite = 0;          // weights; the other figures leave them out
  std::vector<std::uint64_t> zero_rows;  // their numbers, rising; their units are in no figure below
  std::uint64_t repeated_rows = 0;       // equal to an earlier row, zero rows excepted
  /// Of each matrix of a stack (one for a tensor that is none): a hash of its weights, 0 for a matrix of
  /// zeros.
  std::vector<std::uint64_t> matrices;

  // Of formats with parameters, over units; shares in parts.
  std::uint64_t units = 0;
  double off_centre = 0;  // median of |mean| / deviation of a unit's weights: about run^-1/2 when all is well
  double wild_scales = 0;      // share of units whose scale is more than 2^8 off the median one
  double constant_units = 0;   // share of units whose codes are all the same and whose scale is not zero
  double zero_units = 0;       // share of units whose weights are all zero, whatever their scale
  double zero_scales = 0;      // share of units
  double extreme_codes = 0;    // share of codes that are the smallest or the largest one seen
  double parity = 0;           // total variation between the codes of even and of odd columns
  double nibble_bias = 0;      // of 8-bit codes: total variation between the low four bits and a uniform draw
  double nibble_likeness = 1;  // of 8-bit codes: total variation between the low and the high four bits
};

/// Throws Error where a unit cannot be read.
TensorFacts gather_facts(const Tensor& tensor);

/// Figures of an original are what the same figures of a model made from it are held against.
struct ComparedFacts {
  /// Of the original rounded to this format by the format's own rule; of formats that are only read, of the
  /// original as it is: without the figures of units, but for zero_units.
  TensorFacts plain;
  double relative_rms = 0;  // of the difference, to the original
  double cosine = 1;
  double gain = 1;  // by which the original fits best
  /// relative_rms of rounding the original to this format by the format's own rule; NaN for formats that are
  /// only read.
  double plain_relative_rms = 0;
  /// The row that is furthest off, measured by what plain rounding makes of it or of the median row.
  std::uint64_t worst_row = 0;
  double worst_row_relative_rms = 0, median_row_relative_rms = 0;
  double worst_row_plain = 0;  // relative RMS of plain rounding there
  std::uint64_t changed = 0;   // weights that are not equal
  std::uint64_t flushed = 0;   // zero here, and above f16's smallest number in the original
};

/// Both of the same shape. Throws Error where either cannot be read.
ComparedFacts compare_facts(const Tensor& tensor, const Tensor& original);

}  // namespace assay
