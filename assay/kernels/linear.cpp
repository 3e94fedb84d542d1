#include "assay/kernels/linear.h"

#include <cblas.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/kernels/blas_core.h"
#include "assay/kernels/tasks.h"

namespace assay {

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
  std::string kernel() const override;

  void forward(std::span<const float> x, std::size_t tokens, std::span<float> y) const override {
    assert(x.size() == tokens * columns_ && y.size() == tokens * rows_);
    multiply(x.data(), tokens, {weights_.get(), rows_, columns_}, y.data(), rows_);
  }

  void row(std::uint64_t index, std::span<float> out) const override {
    assert(index < rows_ && out.size() == columns_);
    std::copy_n(weights_.get() + static_cast<std::size_t>(index) * columns_, columns_, out.begin());
  }

 private:
  std::size_t rows_, columns_;
  std::unique_ptr<float[]> weights_;  // row-major
};

class PackedLinear final : public Linear {
 public:
  explicit PackedLinear(PackedMatrix matrix)
      : matrix_(std::move(matrix)),
        rows_(static_cast<std::size_t>(matrix_.rows())),
        columns_(static_cast<std::size_t>(matrix_.columns())) {}

  std::uint64_t rows() const override { return rows_; }
  std::uint64_t columns() const override { return columns_; }
  std::string kernel() const override;

  void forward(std::span<const float> x, std::size_t tokens, std::span<float> y) const override {
    assert(x.size() == tokens * columns_ && y.size() == tokens * rows_);
    const std::size_t panel = std::max<std::size_t>(1, kScratchWeights / (kTileRows * columns_)) * kTileRows;
    thread_local std::vector<float> scratch;  // kept between calls
    scratch.resize(std::min(panel, rows_) * columns_);
    for (std::size_t first = 0; first < rows_; first += panel) {
      const std::size_t count = std::min(panel, rows_ - first);
      decode(matrix_, first, count, scratch.data());
      multiply(x.data(), tokens, {scratch.data(), count, columns_}, y.data() + first, rows_);
    }
  }

  void row(std::uint64_t index, std::span<float> out) const override { matrix_.decode(index, 1, out); }

 private:
  PackedMatrix matrix_;
  std::size_t rows_, columns_;
};

/// One row of the kernel table: who runs matrices of a format under a residency on this machine. Rows of fast
/// kernels stand before the generic ones; an empty format means any.
struct LinearKernel {
  std::string_view name;
  std::string_view format;
  Residency residency;
  bool (*runs_here)();  // has the machine the instruction set?
  std::unique_ptr<Linear> (*make)(PackedMatrix);
};

bool any_machine() {
  return true;
}

template <class Kernel>
std::unique_ptr<Linear> make_kernel(PackedMatrix matrix) {
  return std::make_unique<Kernel>(std::move(matrix));
}

constexpr LinearKernel kDecoded{"decoded to f32, OpenBLAS", "", Residency::decoded, any_machine,
                                make_kernel<DecodedLinear>};
constexpr LinearKernel kPacked{"packed, decoded by panels, OpenBLAS", "", Residency::packed, any_machine,
                               make_kernel<PackedLinear>};
constexpr std::array kLinearKernels = {kDecoded, kPacked};

/// With the instruction set that OpenBLAS found, which may be a slow one.
std::string describe(const LinearKernel& kernel) {
  return fmt::format("{} ({})", kernel.name, blas_core());
}

std::string DecodedLinear::kernel() const {
  return describe(kDecoded);
}
std::string PackedLinear::kernel() const {
  return describe(kPacked);
}

const LinearKernel& choose_kernel(const Format& format, const LinearOptions& options) {
  assert(options.residency != Residency::automatic && "the model resolves it");
  for (const LinearKernel& kernel : kLinearKernels)
    if (kernel.residency == options.residency && (kernel.format.empty() || kernel.format == format.name()) &&
        kernel.runs_here())
      return kernel;
  fail("format {}: no kernel runs it on this machine", format.name());
}

}  // namespace

std::unique_ptr<Linear> make_linear(PackedMatrix matrix, const LinearOptions& options) {
  // BLAS counts in int: refuse here, before an index could wrap.
  constexpr std::uint64_t kMaxDimension = 1u << 30;
  if (matrix.rows() > kMaxDimension || matrix.columns() > kMaxDimension)
    fail("a matrix of {} x {} is larger than BLAS can index", matrix.rows(), matrix.columns());
  const LinearKernel& kernel = choose_kernel(*matrix.format(), options);
  return kernel.make(std::move(matrix));
}

std::string linear_kernel_name(const Format& format, const LinearOptions& options) {
  return describe(choose_kernel(format, options));
}

}  // namespace assay
