#include "assay/kernels/linear.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "assay/base/bytes.h"
#include "assay/base/error.h"
#include "assay/base/half.h"
#include "assay/formats/table.h"
#include "assay/kernels/blas_core.h"
#include "assay/kernels/host_rows.h"
#include "assay/kernels/ops.h"
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
    for (const Residency residency : {Residency::decoded, Residency::packed, Residency::stored}) {
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
    const auto stored = make_linear(source, {Residency::stored});
    for (const std::size_t tokens : {1u, 2u, 5u, 511u, 513u, 1100u}) {
      const auto x = normal_values(tokens * columns, static_cast<unsigned>(tokens));
      const auto y = run(*decoded, x, tokens);
      EXPECT_LT(worst_error(weights, rows, columns, x, tokens, y), 1e-6) << rows << " x " << tokens;
      EXPECT_EQ(y, run(*stored, x, tokens)) << rows << " x " << tokens;
    }
  }
}

// Wider than what a stored matrix holds decoded at once: several panels, the last one short.
TEST(Linear, MatricesLargerThanTheScratchEqualTheDecodedOnes) {
  std::vector<float> values(700 * 16384);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251);
  const PackedMatrix source = PackedMatrix::of_floats(std::move(values), 700, 16384);
  const auto x = normal_values(2 * 16384, 1);
  const auto y = run(*make_linear(source, {Residency::stored}), x, 2);
  EXPECT_EQ(y, run(*make_linear(source, {Residency::decoded}), x, 2));
  EXPECT_NE(y.front(), y.back());
}

TEST(Linear, GivesTheSameBitsOnOneThreadAndOnMany) {
  const PackedMatrix source = packed_values(find_format("q8_0"), 9000, 128);
  for (const Residency residency : {Residency::packed, Residency::decoded, Residency::stored})
    for (const std::size_t tokens : {1u, 4u, 40u}) {
      const auto linear = make_linear(source, {residency});
      const auto x = normal_values(tokens * 128, 3);
      set_thread_count(1);
      const auto one = run(*linear, x, tokens);
      set_thread_count(4);
      const auto many = run(*linear, x, tokens);
      set_thread_count(0);
      EXPECT_EQ(one, many) << tokens;
    }
}

TEST(Linear, RowsAreTheDecodedOnes) {
  const PackedMatrix source = packed_values(find_format("q4_1"), 300, 64);
  const auto weights = all_rows(source);
  for (const Residency residency : {Residency::decoded, Residency::packed, Residency::stored}) {
    const auto linear = make_linear(source, {residency});
    for (const std::size_t row : {0u, 17u, 299u}) {
      std::vector<float> out(64);
      linear->row(row, rows_over(out, 64));
      EXPECT_TRUE(std::equal(out.begin(), out.end(), weights.begin() + static_cast<std::ptrdiff_t>(row * 64)))
          << row;
    }
  }
}

// A stored matrix is read where it lies at every call; a decoded one is a copy.
TEST(Linear, DecodedDecodesOnceAndStoredAtEveryCall) {
  std::vector<float> values = normal_values(300 * 64, 4);
  const PackedMatrix source(find_format("f32"), 64, {{300, {std::as_bytes(std::span(values))}, {}}}, {});
  const auto x = normal_values(2 * 64, 3);
  const auto decoded = make_linear(source, {Residency::decoded});
  const auto stored = make_linear(source, {Residency::stored});
  const auto before = run(*decoded, x, 2);
  EXPECT_EQ(run(*stored, x, 2), before);
  for (float& value : values) value *= 2;
  EXPECT_EQ(run(*decoded, x, 2), before);
  const auto after = run(*stored, x, 2);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i], 2 * before[i]);
}

TEST(Linear, SaysWhichKernelRuns) {
  const PackedMatrix source = packed_values(find_format("q8_0"), 40, 64);
  const MatrixTraits traits{*source.format(), 40, 64};
  for (const Residency residency : {Residency::decoded, Residency::packed, Residency::stored})
    EXPECT_EQ(make_linear(source, {residency})->kernel(), kernel_summary(traits, {residency}));
  EXPECT_EQ(kernel_summary(traits, {Residency::decoded}), "decoded to f32, OpenBLAS (" + blas_core() + ")");
  EXPECT_EQ(kernel_summary(traits, {Residency::stored}),
            "decoded at every call, OpenBLAS (" + blas_core() + ")");
  EXPECT_EQ(make_linear(source, {Residency::decoded, "stored"})->kernel(),
            kernel_summary(traits, {Residency::stored}));
  // Too few rows for a panel: stored where packed was asked for, decoded where anything would do.
  const MatrixTraits small{*source.format(), 4, 64};
  EXPECT_EQ(kernel_summary(small, {Residency::packed}), kernel_summary(small, {Residency::stored}));
  EXPECT_EQ(kernel_summary(small, {Residency::automatic}), kernel_summary(small, {Residency::decoded}));
}

/// Every row of the table that this machine runs, at every instruction set: visit(kernel, instruction set).
template <class Visit>
void for_each_kernel(const Visit& visit) {
  for (const Isa isa : isas_of_machine()) {
    limit_isa(isa);
    for (const LinearKernel& kernel : linear_kernels())
      if (includes(isa, kernel.isa)) visit(kernel, isa);
  }
  limit_isa(isas_of_machine().back());
}

/// Sums of codes cancel against the zero or the bias only at the end of a group, and are about twice as large
/// as those of weights.
double bound_of(const LinearKernel& kernel) {
  return kernel.residency == Residency::packed ? 4e-6 : 1e-6;
}

// On every matrix that a row says it can hold: the stored weights times x, in float64.
TEST(KernelTable, EveryRowEqualsUnpackThenMultiplyInFloat64) {
  for_each_kernel([](const LinearKernel& kernel, Isa isa) {
    for (const FormatPtr& format : all_formats())
      for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{70, 256}, {17, 768}}) {
        if (!format->can_encode() || !kernel.supports({*format, rows, columns})) continue;
        const PackedMatrix source = packed_values(format, rows, columns);
        const auto linear = make_linear(source, {Residency::decoded, std::string(kernel.name)});
        for (const std::size_t tokens : {1u, 2u, 3u, 4u, 5u, 8u, 17u}) {
          const auto x = normal_values(tokens * columns, 6);
          EXPECT_LT(worst_error(all_rows(source), rows, columns, x, tokens, run(*linear, x, tokens)),
                    bound_of(kernel))
              << kernel.name << " " << format->name() << " " << isa_name(isa) << " " << tokens;
        }
      }
  });
}

// Rows that fill no panel, columns that fill no block or tile, every number of tokens at which a kernel
// changes its way.
TEST(KernelTable, EveryRowHoldsForOddSizes) {
  for_each_kernel([](const LinearKernel& kernel, Isa isa) {
    for (const char* name :
         {"int3-row", "int6-row", "int7-row-f32", "int8-row", "bf16", "gf16", "khq4", "iq4_nl"})
      for (const std::size_t rows : {16u, 33u, 63u})
        for (const std::size_t columns : {32u, 45u, 333u}) {
          const FormatPtr format = find_format(name);
          if (format->misfit(rows, columns)) continue;
          const PackedMatrix source = packed_values(format, rows, columns);
          if (!kernel.supports({*format, rows, columns, source.rows_hold_units()})) continue;
          const auto weights = all_rows(source);
          const auto linear = make_linear(source, {Residency::decoded, std::string(kernel.name)});
          for (const std::size_t tokens : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 16u, 64u, 512u}) {
            if (tokens == 512 && rows != 33) continue;  // takes long to check
            const auto x = normal_values(tokens * columns, 6);
            EXPECT_LT(worst_error(weights, rows, columns, x, tokens, run(*linear, x, tokens)),
                      bound_of(kernel))
                << kernel.name << " " << name << " " << isa_name(isa) << " " << rows << "x" << columns
                << " of " << tokens;
          }
        }
  });
}

/// x in steps of the largest of 32 neighbours / largest_step.
std::vector<float> in_steps(std::vector<float> x, std::size_t columns, float largest_step) {
  for (std::size_t row = 0; row < x.size(); row += columns)
    for (std::size_t first = 0; first < columns; first += 32) {
      const auto block = std::span(x).subspan(row + first, std::min<std::size_t>(32, columns - first));
      float largest = 0;
      for (const float value : block) largest = std::max(largest, std::fabs(value));
      for (float& value : block)
        value = std::nearbyint(value * (largest_step / largest)) * (largest / largest_step);
    }
  return x;
}

// Integers are exact: what a kernel multiplies is x in steps, and nothing else is rounded but sums of floats.
TEST(KernelTable, StepsOfActivationsAreTheOnlyRounding) {
  for_each_kernel([](const LinearKernel& kernel, Isa isa) {
    for (const FormatPtr& format : all_formats())
      for (const auto& [rows, columns] : {std::pair<std::size_t, std::size_t>{70, 256}, {16, 333}}) {
        if (kernel.residency != Residency::packed || !format->can_encode()) continue;
        if (format->misfit(rows, columns) || !kernel.supports({*format, rows, columns})) continue;
        if (columns % format->layout(columns).run != 0) continue;
        const PackedMatrix source = packed_values(format, rows, columns);
        for (const Activations activations : {Activations::int16, Activations::int8}) {
          const auto linear = make_linear(source, {Residency::packed, std::string(kernel.name), activations});
          const float largest_step = linear->kernel().find("8-bit") != std::string::npos    ? 127
                                     : linear->kernel().find("16-bit") != std::string::npos ? 32767
                                                                                            : 0;
          for (const std::size_t tokens : {1u, 2u, 3u, 4u}) {
            const auto x = normal_values(tokens * columns, 6);
            const auto met = largest_step > 0 ? in_steps(x, columns, largest_step) : x;
            EXPECT_LT(worst_error(all_rows(source), rows, columns, met, tokens, run(*linear, x, tokens)),
                      bound_of(kernel))
                << linear->kernel() << " " << format->name() << " " << isa_name(isa) << " " << tokens;
          }
        }
      }
  });
}

TEST(KernelTable, AutomaticActivationsFollowTheWidthOfCodes) {
  if (isas_of_machine().back() == Isa::baseline) GTEST_SKIP() << "no packed kernel runs here";
  const auto said = [](const char* name, Activations activations) {
    return kernel_summary({*find_format(name), 64, 256}, {Residency::packed, "", activations});
  };
  for (const char* name : {"khq4", "khw3", "q4_k", "q2_k", "mlx2-g64-bf16"})
    EXPECT_NE(said(name, Activations::automatic).find(" 8-bit"), std::string::npos) << name;
  for (const char* name : {"q5_k", "q6_k", "q8_0", "int6-row", "iq4_nl"})
    EXPECT_NE(said(name, Activations::automatic).find("16-bit"), std::string::npos) << name;
  EXPECT_NE(said("q5_k", Activations::int8).find(" 8-bit"), std::string::npos);
  for (const char* name : {"q6_k", "q8_0", "iq4_nl"})  // what int8 does not take is said
    EXPECT_NE(said(name, Activations::int8).find("16-bit"), std::string::npos) << name;
  for (const Activations activations : {Activations::automatic, Activations::int8})
    EXPECT_NE(said("bf16", activations).find("f32"), std::string::npos);
}

// The largest codes with the largest steps, all of one sign: nothing overflows. Steps of equal magnitudes are
// exact.
TEST(KernelTable, SumsOfStepsHoldTheLargestCodes) {
  for_each_kernel([](const LinearKernel& kernel, Isa) {
    if (kernel.residency != Residency::packed) return;
    for (const char* name : {"mlx1-g32-f32", "mlx2-g32-f32", "mlx3-g32-f32", "mlx4-g32-f32", "mlx5-g32-f32",
                             "mlx6-g32-f32", "mlx8-g32-f32", "int7-row-f32"}) {
      const FormatPtr format = find_format(name);
      const std::size_t rows = 16, columns = 256;
      const Layout layout = format->layout(columns);
      const CodeLine line = *format->code_line();
      const std::vector<Params> params(rows * columns / layout.run, {1.0f, 0.0f});
      const std::vector<Code> codes(rows * columns, line.first + line.codes - 1);
      const auto planes = std::make_shared<std::vector<std::vector<std::byte>>>();
      for (const Plane& plane : layout.planes) planes->emplace_back(layout.bytes(plane, params.size()));
      format->pack(params, codes, std::vector<MutableBytes>(planes->begin(), planes->end()));
      const PackedMatrix matrix(format, columns, {{rows, {planes->begin(), planes->end()}, {"here", "w"}}},
                                {planes});
      const auto largest = static_cast<float>(line.first + line.codes - 1 - line.zero);
      for (const Activations activations : {Activations::int16, Activations::int8})
        for (const float sign : {1.0f, -1.0f}) {
          const std::vector<float> x(columns, 32767.0f * sign);
          const auto y =
              run(*make_linear(matrix, {Residency::packed, std::string(kernel.name), activations}), x, 1);
          for (const float value : y)
            EXPECT_NEAR(value / (sign * 32767.0f * largest * static_cast<float>(columns)), 1, 1e-6) << name;
        }
    }
  });
}

std::shared_ptr<const Linear> nothing(PackedMatrix, Activations) {
  return nullptr;
}

TEST(KernelTable, TheFirstRowThatRunsIsTakenAndANamedOneOrNone) {
  const FormatPtr format = find_format("q8_0");
  const MatrixTraits traits{*format, 6, 64};
  const auto any = [](const MatrixTraits&) { return true; };
  const auto wide = [](const MatrixTraits& matrix) { return matrix.columns > 64; };
  const std::array table = {LinearKernel{"wide", Residency::packed, Isa::baseline, wide, nothing, {}},
                            LinearKernel{"fast", Residency::packed, Isa::avx2, any, nothing, {}},
                            LinearKernel{"any", Residency::stored, Isa::baseline, any, nothing, {}}};
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
  if (includes(isas_of_machine().back(), Isa::avx2)) {
    EXPECT_EQ(chosen({Residency::packed}), "fast");
  }
}

/// A matrix of random codes and random parameters near one, for formats that nothing is rounded to.
PackedMatrix random_planes(const FormatPtr& format, std::size_t rows, std::size_t columns) {
  std::mt19937 random(7);
  const Layout layout = format->layout(columns);
  const std::uint64_t units = unit_count(layout, rows, columns);
  const auto planes = std::make_shared<std::vector<std::vector<std::byte>>>();
  for (const Plane& plane : layout.planes) {
    std::vector<std::byte>& bytes = planes->emplace_back(layout.bytes(plane, units));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    const std::size_t size = dtype_size(plane.dtype);
    const float near_one = std::uniform_real_distribution<float>(0.5f, 1.5f)(random);
    for (std::size_t at = 0; at + size <= bytes.size(); at += size)
      if (plane.dtype == DType::F32)
        store(bytes.data() + at, near_one + static_cast<float>(at % 7) / 16);
      else if (plane.dtype == DType::F16)
        store(bytes.data() + at, f32_to_f16(near_one + static_cast<float>(at % 7) / 16));
      else if (plane.dtype == DType::BF16)
        store(bytes.data() + at, f32_to_bf16(near_one + static_cast<float>(at % 7) / 16));
      else if (plane.dtype == DType::U8 && size < plane.record_bytes * 2)
        bytes[at] = static_cast<std::byte>(124 + at % 7);  // 2^-3 to 2^3, as E8M0
  }
  return {format, columns, {{rows, {planes->begin(), planes->end()}, {"here", "w"}}}, {planes}};
}

TEST(Linear, FormatsThatAreReadOnlyEqualUnpackThenMultiply) {
  std::size_t held = 0;
  for (const FormatPtr& format : all_formats()) {
    const std::size_t rows = 40, columns = 256, tokens = 2;
    if (format->can_encode() || !format->code_line() || format->misfit(rows, columns)) continue;
    if (format->layout(columns).planes.size() < 2) continue;  // parameters among the codes' bytes
    const PackedMatrix source = random_planes(format, rows, columns);
    const auto x = normal_values(tokens * columns, 5);
    for (const Activations activations : {Activations::f32, Activations::int16, Activations::int8}) {
      const auto linear = make_linear(source, {Residency::packed, "", activations});
      held += linear->kernel().find("interleaved") != std::string::npos ? 1 : 0;
      EXPECT_LT(worst_error(all_rows(source), rows, columns, x, tokens, run(*linear, x, tokens)),
                activations == Activations::f32     ? 4e-6
                : activations == Activations::int16 ? 2e-5
                                                    : 5e-3)
          << format->name();
    }
  }
  if (isas_of_machine().back() > Isa::baseline) {
    EXPECT_GT(held, 20u);
  }
}

// Matrices that share their input in one call: widths and groups of their own, some held otherwise.
TEST(Linear, AGroupOfOtherWidthsIsEachProductAlone) {
  const std::size_t columns = 256;
  std::vector<std::shared_ptr<const Linear>> made;
  for (const Activations activations : {Activations::f32, Activations::int16, Activations::automatic})
    for (const char* name : {"q4_0", "khw3", "khq4", "mlx2-g64-f16", "q8_0", "int4-row", "bf16"})
      made.push_back(
          make_linear(packed_values(find_format(name), 70, columns), {Residency::packed, "", activations}));
  for (const bool stored : {false, true}) {
    if (stored)
      made.push_back(make_linear(packed_values(find_format("q4_0"), 70, columns), {Residency::stored}));
    for (const std::size_t tokens : {1u, 3u, 9u}) {
      auto x = normal_values(tokens * columns, 5);
      std::vector<const Linear*> group;
      std::vector<std::vector<float>> results(made.size(), std::vector<float>(tokens * 70));
      std::vector<Rows> outs;
      for (std::size_t i = 0; i < made.size(); ++i) {
        group.push_back(made[i].get());
        outs.push_back(rows_over(results[i], 70));
      }
      cpu_ops().linear_group(group, rows_over(x, columns), outs);
      for (std::size_t i = 0; i < made.size(); ++i)
        EXPECT_EQ(results[i], run(*made[i], x, tokens)) << i << " of " << tokens;
    }
  }
}

TEST(Linear, AnErrorInARowReachesTheCaller) {
  std::vector<float> values(600 * 64);
  values[500 * 64 + 3] = std::nanf("");
  const PackedMatrix damaged(find_format("f32"), 64,
                             {{600, {std::as_bytes(std::span(values))}, {"here", "w"}}}, {});
  EXPECT_ERROR(make_linear(damaged, {Residency::decoded}), "here", "tensor w", "element 32003");
  const auto stored = make_linear(damaged, {Residency::stored});
  const std::vector<float> x(64);
  EXPECT_ERROR(run(*stored, x, 1), "here", "tensor w", "element 32003");
}

TEST(Linear, RefusesMatricesThatBlasCannotIndex) {
  const PackedMatrix huge(find_format("f32"), 2, {{std::uint64_t{1} << 31, {Bytes()}, {}}}, {});
  EXPECT_ERROR(make_linear(huge, {Residency::packed}), "2147483648", "BLAS");
}

}  // namespace
}  // namespace assay
