#include "assay/kernels/cpu/blas_linear.h"

#include <cblas.h>

#include <algorithm>
#include <cassert>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "assay/base/checked.h"
#include "assay/kernels/blas_core.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/tasks.h"

namespace assay::cpu {

namespace {

// A call is cut into tasks, a tile of rows times a tile of tokens each, in the same way whatever the
// residency and the number of threads: the same sgemm calls are made, so decoded and packed weights, one
// thread and many, give the same bits.
constexpr std::size_t kTileRows = 256;
constexpr std::size_t kTileTokens = 256;
constexpr std::size_t kVectorTileRows = 64;  // for one token, where a tile is a matrix-vector product
// Rows decoded by one task: whole units of every format (a flat run of 32 straddles at most 32 rows).
constexpr std::size_t kDecodeRows = 32;
// Weights that a packed matrix holds decoded at once, one tile of rows at least: 16 MiB.
constexpr std::size_t kScratchWeights = 1 << 22;

// With the instruction set that OpenBLAS found, which may be a slow one.
std::string decoded_text() {
  return fmt::format("decoded to f32, OpenBLAS ({})", blas_core());
}
std::string stored_text() {
  return fmt::format("decoded at every call, OpenBLAS ({})", blas_core());
}

struct MatrixView {
  const float* data;  // row-major
  std::size_t rows, columns;
};

/// y[t, r] = x[t] . w[r] for a tile; the stride of y is y_stride. On the calling thread when in a parallel
/// region.
void multiply_tile(const float* x, std::size_t tokens, const MatrixView& w, float* y, std::size_t y_stride) {
  const int m = static_cast<int>(tokens), n = static_cast<int>(w.rows), k = static_cast<int>(w.columns);
  if (tokens == 1)
    cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, w.data, k, x, 1, 0.0f, y, 1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, x, k, w.data, k, 0.0f, y,
                static_cast<int>(y_stride));
}

/// The same for a whole matrix, on all threads.
void multiply(const float* x, std::size_t tokens, const MatrixView& w, float* y, std::size_t y_stride) {
  const std::size_t tile_rows = tokens == 1 ? kVectorTileRows : kTileRows;
  const std::size_t row_tiles = ceil_divide(w.rows, tile_rows),
                    token_tiles = ceil_divide(tokens, kTileTokens);
  const auto body = [&](std::size_t task) {
    const std::size_t row = task / token_tiles * tile_rows, token = task % token_tiles * kTileTokens;
    const MatrixView tile{w.data + row * w.columns, std::min(tile_rows, w.rows - row), w.columns};
    multiply_tile(x + token * w.columns, std::min(kTileTokens, tokens - token), tile,
                  y + token * y_stride + row, y_stride);
  };
  for_each_task(row_tiles * token_tiles, std::uint64_t{tokens} * w.rows * w.columns, body);
}

/// Rows [first, first + count) of a matrix into out, on all threads.
void decode(const PackedMatrix& matrix, std::size_t first, std::size_t count, float* out) {
  const auto columns = static_cast<std::size_t>(matrix.columns());
  for_each_task(ceil_divide(count, kDecodeRows), std::uint64_t{count} * columns, [&](std::size_t task) {
    const std::size_t row = task * kDecodeRows, rows = std::min(kDecodeRows, count - row);
    matrix.decode(first + row, rows, {out + row * columns, rows * columns});
  });
}

class DecodedLinear final : public Linear {
 public:
  explicit DecodedLinear(const PackedMatrix& matrix)
      : rows_(static_cast<std::size_t>(matrix.rows())),
        columns_(static_cast<std::size_t>(matrix.columns())),
        weights_(std::make_unique_for_overwrite<float[]>(rows_ * columns_)) {
    decode(matrix, 0, rows_, weights_.get());
  }

  std::uint64_t rows() const override { return rows_; }
  std::uint64_t columns() const override { return columns_; }
  std::string kernel() const override { return decoded_text(); }

  void forward(const Rows& x, const Rows& y) const override {
    assert(x.width() == columns_ && y.width() == rows_ && x.count() == y.count());
    multiply(host_values<float>(x).data(), x.count(), {weights_.get(), rows_, columns_},
             host_values<float>(y).data(), rows_);
  }

  void row(std::uint64_t index, const Rows& out) const override {
    assert(index < rows_ && out.size() == columns_);
    std::copy_n(weights_.get() + static_cast<std::size_t>(index) * columns_, columns_,
                host_values<float>(out).begin());
  }

 private:
  std::size_t rows_, columns_;
  std::unique_ptr<float[]> weights_;  // row-major
};

class StoredLinear final : public Linear {
 public:
  explicit StoredLinear(PackedMatrix matrix)
      : matrix_(std::move(matrix)),
        rows_(static_cast<std::size_t>(matrix_.rows())),
        columns_(static_cast<std::size_t>(matrix_.columns())) {}

  std::uint64_t rows() const override { return rows_; }
  std::uint64_t columns() const override { return columns_; }
  std::string kernel() const override { return stored_text(); }

  void forward(const Rows& x, const Rows& y) const override {
    assert(x.width() == columns_ && y.width() == rows_ && x.count() == y.count());
    const std::size_t panel = std::max<std::size_t>(1, kScratchWeights / (kTileRows * columns_)) * kTileRows;
    thread_local std::vector<float> scratch;  // kept between calls
    scratch.resize(std::min(panel, rows_) * columns_);
    for (std::size_t first = 0; first < rows_; first += panel) {
      const std::size_t count = std::min(panel, rows_ - first);
      decode(matrix_, first, count, scratch.data());
      multiply(host_values<float>(x).data(), x.count(), {scratch.data(), count, columns_},
               host_values<float>(y).data() + first, rows_);
    }
  }

  void row(std::uint64_t index, const Rows& out) const override {
    matrix_.decode(index, 1, host_values<float>(out));
  }

 private:
  PackedMatrix matrix_;
  std::size_t rows_, columns_;
};

}  // namespace

std::string decoded_summary(const MatrixTraits&, Activations) {
  return decoded_text();
}
std::string stored_summary(const MatrixTraits&, Activations) {
  return stored_text();
}

std::shared_ptr<const Linear> decoded_linear(PackedMatrix matrix, Activations) {
  return std::make_shared<const DecodedLinear>(matrix);
}

std::shared_ptr<const Linear> stored_linear(PackedMatrix matrix, Activations) {
  return std::make_shared<const StoredLinear>(std::move(matrix));
}

}  // namespace assay::cpu
