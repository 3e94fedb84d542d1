#pragma once
// A matrix as its format's own rule rounds it, rounded where it is read: what a model loads in place of a
// matrix that is not written yet.
#include <algorithm>
#include <memory>
#include <vector>

#include "assay/base/checked.h"
#include "assay/kernels/linear.h"

namespace assay {

class PlainlyRoundedRows final : public RowSource {
 public:
  PlainlyRoundedRows(std::shared_ptr<const RowSource> source, FormatPtr format)
      : source_(std::move(source)),
        format_(std::move(format)),
        layout_(format_->layout(source_->columns())),
        granule_(format_->row_granule(source_->columns())) {}
  std::uint64_t rows() const override { return source_->rows(); }
  std::uint64_t columns() const override { return source_->columns(); }
  const Format& format() const override { return *format_; }
  void decode(std::uint64_t first, std::uint64_t count, std::span<float> out) const override {
    // Whole units only: rows around the ones asked for come along.
    const std::uint64_t begin = first / granule_ * granule_;
    const std::uint64_t end = std::min(rows(), ceil_divide(first + count, granule_) * granule_);
    std::vector<float> weights((end - begin) * columns()), stored(weights.size());
    source_->decode(begin, end - begin, weights);
    const std::uint64_t units = unit_count(layout_, end - begin, columns());
    std::vector<Params> params(layout_.has_params ? units : 0);
    std::vector<Code> codes(units * layout_.run);
    format_->reference(weights, params, codes);
    format_->decode(params, codes, stored);
    std::copy_n(stored.begin() + static_cast<std::ptrdiff_t>((first - begin) * columns()), out.size(),
                out.begin());
  }

 private:
  std::shared_ptr<const RowSource> source_;
  FormatPtr format_;
  Layout layout_;
  std::uint64_t granule_;
};

}  // namespace assay
