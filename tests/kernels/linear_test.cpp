#include "assay/kernels/linear.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/kernels/blas_core.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/table.h"
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

/// A matrix packed in memory by the format's own reference rule.
PackedMatrix packed_values(const FormatPtr& format, std::size_t rows, std::size_t columns) {
  const Layout layout = format->layout(columns);
  const std::size_t units = unit_count(layout, rows, columns);
  std::vector<Params> params(layout.has_params ? units : 0);
  std::vector<Code> codes(units * layout.run);
  format->reference(normal_values(rows * columns, 42), params, codes);
  const auto planes = std::make_shared<std::vector<std::vector<std::byte>>>();
  for (const Plane& plane : layout.planes) planes->emplace_back(layout.bytes(plane, units));
  format->pack(params, codes, std::vector<MutableBytes>(planes->begin(), planes->end()));
  return {format, columns, {{rows, {planes->begin(), planes->end()}, {"here", "w"}}}, {planes}};
}

std::vector<float> all_rows(const PackedMatrix& matrix) {
  std::vector<float> out(matrix.rows() * matrix.columns());
  matrix.decode(0, matrix.rows(), out);
  return out;
}

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
  std::vector<float> inputs = x;
  std::vector<float> y(tokens * linear.rows(), std::nanf(""));
  linear.forward(rows_over(inputs, linear.columns()), rows_over(y, linear.rows()));
  return y;
}

TEST(Linear, EveryFormatEqualsUnpackThenMultiplyInFloat64) {
  for (const FormatPtr& format : all_formats()) {
    if (!format->can_encode()) continue;
    const std::size_t rows = 37, columns = 256, tokens = 3;
    const PackedMatrix source = packed_values(format, rows, columns);
    const auto x = normal_values(tokens * columns, 5);
    for (const Residency residency : {Residency::decoded, Residency::packed}) {
      const auto y = run(*make_linear(source, {residency}), x, tokens);
      EXPECT_LT(worst_error(all_rows(source), rows, columns, x, tokens, y), 1e-6) << format->name();
    }
  }
}

// One panel, several, a short last one; one token, few, several blocks.
TEST(Linear, EverySizeEqualsTheFloat64Product) {
  for (const std::size_t rows : {1u, 255u, 256u, 257u, 600u}) {
    const std::size_t columns = 96;
    const PackedMatrix source = packed_values(find_format("q8_0"), rows, columns);
    const auto weights = all_rows(source);
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
  std::vector<float> values(700 * 16384);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251);
  const PackedMatrix source = PackedMatrix::of_floats(std::move(values), 700, 16384);
  const auto x = normal_values(2 * 16384, 1);
  const auto y = run(*make_linear(source, {Residency::packed}), x, 2);
  EXPECT_EQ(y, run(*make_linear(source, {Residency::decoded}), x, 2));
  EXPECT_NE(y.front(), y.back());
}

TEST(Linear, GivesTheSameBitsOnOneThreadAndOnMany) {
  const PackedMatrix source = packed_values(find_format("q8_0"), 700, 128);
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
  const PackedMatrix source = packed_values(find_format("q4_1"), 300, 64);
  const auto weights = all_rows(source);
  for (const Residency residency : {Residency::decoded, Residency::packed}) {
    const auto linear = make_linear(source, {residency});
    for (const std::size_t row : {0u, 17u, 299u}) {
      std::vector<float> out(64);
      linear->row(row, rows_over(out, 64));
      EXPECT_TRUE(std::equal(out.begin(), out.end(), weights.begin() + static_cast<std::ptrdiff_t>(row * 64)))
          << row;
    }
  }
}

// A packed matrix is read where it lies at every call; a decoded one is a copy.
TEST(Linear, DecodedDecodesOnceAndPackedAtEveryCall) {
  std::vector<float> values = normal_values(300 * 64, 4);
  const PackedMatrix source(find_format("f32"), 64, {{300, {std::as_bytes(std::span(values))}, {}}}, {});
  const auto x = normal_values(2 * 64, 3);
  const auto decoded = make_linear(source, {Residency::decoded});
  const auto packed = make_linear(source, {Residency::packed});
  const auto before = run(*decoded, x, 2);
  EXPECT_EQ(run(*packed, x, 2), before);
  for (float& value : values) value *= 2;
  EXPECT_EQ(run(*decoded, x, 2), before);
  const auto after = run(*packed, x, 2);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i], 2 * before[i]);
}

TEST(Linear, SaysWhichKernelRuns) {
  const PackedMatrix source = packed_values(find_format("q8_0"), 4, 64);
  const MatrixTraits traits{*source.format(), 4, 64};
  for (const Residency residency : {Residency::decoded, Residency::packed})
    EXPECT_EQ(make_linear(source, {residency})->kernel(), kernel_summary(traits, {residency}));
  EXPECT_EQ(kernel_summary(traits, {Residency::decoded}), "decoded to f32, OpenBLAS (" + blas_core() + ")");
  EXPECT_EQ(kernel_summary(traits, {Residency::packed}),
            "packed, decoded by panels, OpenBLAS (" + blas_core() + ")");
  EXPECT_EQ(make_linear(source, {Residency::decoded, "panels"})->kernel(),
            kernel_summary(traits, {Residency::packed}));
}

// Every row of the table that this machine runs, at every instruction set, on every matrix that it says it
// can hold: the stored weights times x, in float64.
TEST(KernelTable, EveryRowEqualsUnpackThenMultiplyInFloat64) {
  for (const Isa isa : isas_of_machine()) {
    limit_isa(isa);
    for (const LinearKernel& kernel : linear_kernels()) {
      if (kernel.isa > isa) continue;
      for (const FormatPtr& format : all_formats()) {
        const std::size_t rows = 70, columns = 256;
        if (!format->can_encode() || !kernel.supports({*format, rows, columns})) continue;
        const PackedMatrix source = packed_values(format, rows, columns);
        const auto linear = make_linear(source, {Residency::decoded, std::string(kernel.name)});
        for (const std::size_t tokens : {1u, 3u}) {
          const auto x = normal_values(tokens * columns, 6);
          EXPECT_LT(worst_error(all_rows(source), rows, columns, x, tokens, run(*linear, x, tokens)), 1e-6)
              << kernel.name << " " << format->name() << " " << isa_name(isa);
        }
      }
    }
  }
  limit_isa(isas_of_machine().back());
}

std::shared_ptr<const Linear> nothing(PackedMatrix) {
  return nullptr;
}

TEST(KernelTable, TheFirstRowThatRunsIsTakenAndANamedOneOrNone) {
  const FormatPtr format = find_format("q8_0");
  const MatrixTraits traits{*format, 6, 64};
  const auto any = [](const MatrixTraits&) { return true; };
  const auto wide = [](const MatrixTraits& matrix) { return matrix.columns > 64; };
  const std::array table = {LinearKernel{"wide", Residency::packed, Isa::baseline, wide, nothing, {}},
                            LinearKernel{"fast", Residency::packed, Isa::avx2, any, nothing, {}},
                            LinearKernel{"any", Residency::packed, Isa::baseline, any, nothing, {}}};
  const auto chosen = [&](const LinearOptions& options) {
    return choose_kernel(table, traits, options).name;
  };
  limit_isa(Isa::baseline);
  EXPECT_EQ(chosen({Residency::packed}), "any");
  EXPECT_ERROR(chosen({Residency::packed, "fast"}), "kernel fast needs avx2", "baseline is in use");
  EXPECT_ERROR(chosen({Residency::packed, "wide"}), "kernel wide cannot hold", "6 x 64", "q8_0");
  EXPECT_ERROR(chosen({Residency::packed, "slow"}), "no kernel is called \"slow\"", "wide, fast, any");
  EXPECT_ERROR(chosen({Residency::decoded}), "no kernel runs", "6 x 64", "q8_0");
  EXPECT_EQ(chosen({Residency::decoded, "any"}), "any");
  limit_isa(isas_of_machine().back());
  if (isas_of_machine().back() >= Isa::avx2) {
    EXPECT_EQ(chosen({Residency::packed}), "fast");
  }
}

TEST(Linear, AnErrorInARowReachesTheCaller) {
  std::vector<float> values(600 * 64);
  values[500 * 64 + 3] = std::nanf("");
  const PackedMatrix damaged(find_format("f32"), 64,
                             {{600, {std::as_bytes(std::span(values))}, {"here", "w"}}}, {});
  EXPECT_ERROR(make_linear(damaged, {Residency::decoded}), "here", "tensor w", "element 32003");
  const auto packed = make_linear(damaged, {Residency::packed});
  const std::vector<float> x(64);
  EXPECT_ERROR(run(*packed, x, 1), "here", "tensor w", "element 32003");
}

TEST(Linear, RefusesMatricesThatBlasCannotIndex) {
  const PackedMatrix huge(find_format("f32"), 2, {{std::uint64_t{1} << 31, {Bytes()}, {}}}, {});
  EXPECT_ERROR(make_linear(huge, {Residency::packed}), "2147483648", "BLAS");
}

}  // namespace
}  // namespace assay
