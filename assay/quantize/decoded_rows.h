#pragma once
// A matrix that lies decoded in memory: what calibration multiplies by once a matrix is rounded.
#include <algorithm>
#include <memory>
#include <vector>

#include "assay/formats/table.h"
#include "assay/kernels/linear.h"

namespace assay {

class DecodedRows final : public RowSource {
 public:
  DecodedRows(std::vector<float> values, std::uint64_t rows, std::uint64_t columns)
      : values_(std::move(values)), rows_(rows), columns_(columns), format_(find_format("f32")) {}
  std::uint64_t rows() const override { return rows_; }
  std::uint64_t columns() const override { return columns_; }
  const Format& format() const override { return *format_; }
  void decode(std::uint64_t first, std::uint64_t count, std::span<float> out) const override {
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(first * columns_), count * columns_,
                out.begin());
  }

 private:
  std::vector<float> values_;
  std::uint64_t rows_, columns_;
  FormatPtr format_;
};

}  // namespace assay
