#include "assay/kernels/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/kernels/blas_core.h"
#include "assay/parallel/threads.h"
#include "tests/support.h"

namespace assay {
namespace {

std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

/// A matrix packed in memory by the format's own reference rule, decoded through its planes.
class PackedMatrix final : public RowSource {
 public:
  PackedMatrix(FormatPtr format, std::size_t rows, std::size_t columns)
      : format_(std::move(format)), layout_(format_->layout(columns)), rows_(rows), columns_(columns) {
    const std::size_t units = unit_count(layout_, rows, columns);
    params_.resize(layout_.has_params ? units : 0);
    codes_.resize(units * layout_.run);
    const auto weights = normal_values(rows * columns, 42);
    format_->reference(weights, params_, codes_);
    std::vector<MutableBytes> views;
    for (const Plane& plane : layout_.planes) planes_.emplace_back(units * plane.bytes_per_unit);
    for (auto& plane : planes_) views.emplace_back(plane);
    format_->pack(params_, codes_, views);
  }

  std::uint64_t rows() const override { return rows_; }
  std::uint64_t columns() const override { return columns_; }
  const Format& format() const override { return *format_; }
  void decode(std::uint64_t first, std::uint64_t count, std::span<float> out) const override {
    const auto all = decode_all();
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(first * columns_), count * columns_, out.begin());
    decoded_rows_ += count;
  }
  std::vector<float> decode_all() const {
    std::vector<Params> params(params_.size());
    std::vector<Code> codes(codes_.size());
    const std::vector<Bytes> views(planes_.begin(), planes_.end());
    format_->unpack(views, params, codes);
    std::vector<float> out(rows_ * columns_);
    format_->decode(params, codes, out);
    return out;
  }
  std::uint64_t decoded_rows() const { return decoded_rows_; }

 private:
  FormatPtr format_;
  Layout layout_;
  std::size_t rows_, columns_;
  std::vector<Params> params_;
  std::vector<Code> codes_;
  std::vector<std::vector<std::byte>> planes_;
  mutable std::atomic<std::uint64_t> decoded_rows_ = 0;
};

/// Largest |y - truth| over the bound eps * sum |w||x| that f32 summation must respect.
double worst_error(const std::vector<float>& weights, std::size_t rows, std::size_t columns,
                   const std::vector<float>& x, std::size_t tokens, const std::vector<float>& y) {
  double worst = 0;
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t r = 0; r < rows; ++r) {
      double truth = 0, magnitude = 0;
      for (std::size_t k = 0; k < columns; ++k) {
        const double product = static_cast<double>(weights[r * columns + k]) * x[t * columns + k];
        truth += product;
        magnitude += std::abs(product);
      }
      worst = std::max(worst, std::abs(y[t * rows + r] - truth) / magnitude);
    }
  }
  return worst;
}

std::vector<float> run(const Linear& linear, const std::vector<float>& x, std::size_t tokens) {
  std::vector<float> y(tokens * linear.rows(), std::nanf(""));
  linear.forward(x, tokens, y);
  return y;
}

TEST(Linear, EveryFormatEqualsUnpackThenMultiplyInFloat64) {
  for (const FormatPtr& format : all_formats()) {
    if (!format->can_encode()) continue;
    const std::size_t rows = 37, columns = 256, tokens = 3;
    const auto source = std::make_shared<PackedMatrix>(format, rows, columns);
    const auto x = normal_values(tokens * columns, 5);
    for (const Residency residency : {Residency::decoded, Residency::packed}) {
      const auto y = run(*make_linear(source, {residency}), x, tokens);
      EXPECT_LT(worst_error(source->decode_all(), rows, columns, x, tokens, y), 1e-6) << format->name();
    }
  }
}

// One panel, several, a short last one; one token, few, several blocks.
TEST(Linear, EverySizeEqualsTheFloat64Product) {
  for (const std::size_t rows : {1u, 255u, 256u, 257u, 600u}) {
    const std::size_t columns = 96;
    const auto source = std::make_shared<PackedMatrix>(find_format("q8_0"), rows, columns);
    const auto weights = source->decode_all();
    const auto decoded = make_linear(source, {Residency::decoded});
    const auto packed = make_linear(source, {Residency::packed});
    for (const std::size_t tokens : {1u, 2u, 5u, 511u, 513u, 1100u}) {
      const auto x = normal_values(tokens * columns, static_cast<unsigned>(tokens));
      const auto y = run(*decoded, x, tokens);
      EXPECT_LT(worst_error(weights, rows, columns, x, tokens, y), 1e-6) << rows << " x " << tokens;
      EXPECT_EQ(y, run(*packed, x, tokens)) << rows << " x " << tokens;
    }
  }
}

// Wider than what a packed matrix holds decoded at once: several panels, the last one short.
TEST(Linear, MatricesLargerThanTheScratchEqualTheDecodedOnes) {
  class Wide final : public RowSource {
   public:
    std::uint64_t rows() const override { return 700; }
    std::uint64_t columns() const override { return 16384; }
    const Format& format() const override { return *find_format("f32"); }
    void decode(std::uint64_t first, std::uint64_t count, std::span<float> out) const override {
      for (std::uint64_t i = 0; i < count * columns(); ++i)
        out[i] = static_cast<float>((first * columns() + i) % 251);
    }
  };
  const auto source = std::make_shared<Wide>();
  const auto x = normal_values(2 * 16384, 1);
  const auto y = run(*make_linear(source, {Residency::packed}), x, 2);
  EXPECT_EQ(y, run(*make_linear(source, {Residency::decoded}), x, 2));
  EXPECT_NE(y.front(), y.back());
}

TEST(Linear, GivesTheSameBitsOnOneThreadAndOnMany) {
  const auto source = std::make_shared<PackedMatrix>(find_format("q8_0"), 700, 128);
  const auto linear = make_linear(source, {Residency::packed});
  const auto x = normal_values(40 * 128, 3);
  set_thread_count(1);
  const auto one = run(*linear, x, 40);
  set_thread_count(4);
  const auto many = run(*linear, x, 40);
  set_thread_count(0);
  EXPECT_EQ(one, many);
}

TEST(Linear, RowsAreTheDecodedOnes) {
  const auto source = std::make_shared<PackedMatrix>(find_format("q4_1"), 300, 64);
  const auto weights = source->decode_all();
  for (const Residency residency : {Residency::decoded, Residency::packed}) {
    const auto linear = make_linear(source, {residency});
    for (const std::size_t row : {0u, 17u, 299u}) {
      std::vector<float> out(64);
      linear->row(row, out);
      EXPECT_TRUE(std::equal(out.begin(), out.end(), weights.begin() + static_cast<std::ptrdiff_t>(row * 64)))
          << row;
    }
  }
}

TEST(Linear, DecodedDecodesOnceAndPackedAtEveryCall) {
  const auto source = std::make_shared<PackedMatrix>(find_format("q8_0"), 300, 64);
  const auto x = normal_values(2 * 64, 3);
  const auto decoded = make_linear(source, {Residency::decoded});
  EXPECT_EQ(source->decoded_rows(), 300u);
  run(*decoded, x, 2);
  EXPECT_EQ(source->decoded_rows(), 300u);
  const auto packed = make_linear(source, {Residency::packed});
  EXPECT_EQ(source->decoded_rows(), 300u);
  run(*packed, x, 2);
  EXPECT_EQ(source->decoded_rows(), 600u);
}

TEST(Linear, SaysWhichKernelRuns) {
  const auto source = std::make_shared<PackedMatrix>(find_format("q8_0"), 4, 64);
  for (const Residency residency : {Residency::decoded, Residency::packed})
    EXPECT_EQ(make_linear(source, {residency})->kernel(), linear_kernel_name(source->format(), {residency}));
  EXPECT_EQ(linear_kernel_name(source->format(), {Residency::decoded}),
            "decoded to f32, OpenBLAS (" + blas_core() + ")");
  EXPECT_EQ(linear_kernel_name(source->format(), {Residency::packed}),
            "packed, decoded by panels, OpenBLAS (" + blas_core() + ")");
}

TEST(Linear, AnErrorInARowReachesTheCaller) {
  class Damaged final : public RowSource {
   public:
    std::uint64_t rows() const override { return 600; }
    std::uint64_t columns() const override { return 64; }
    const Format& format() const override { return *find_format("f32"); }
    void decode(std::uint64_t first, std::uint64_t, std::span<float>) const override {
      fail("row {} is damaged", first);
    }
  };
  EXPECT_ERROR(make_linear(std::make_shared<Damaged>(), {Residency::decoded}), "is damaged");
  const auto packed = make_linear(std::make_shared<Damaged>(), {Residency::packed});
  const std::vector<float> x(64);
  EXPECT_ERROR(run(*packed, x, 1), "is damaged");
}

TEST(Linear, RefusesMatricesThatBlasCannotIndex) {
  class Huge final : public RowSource {
   public:
    std::uint64_t rows() const override { return std::uint64_t{1} << 31; }
    std::uint64_t columns() const override { return 2; }
    const Format& format() const override { return *find_format("f32"); }
    void decode(std::uint64_t, std::uint64_t, std::span<float>) const override {}
  };
  EXPECT_ERROR(make_linear(std::make_shared<Huge>(), {Residency::packed}), "2147483648", "BLAS");
}

}  // namespace
}  // namespace assay
