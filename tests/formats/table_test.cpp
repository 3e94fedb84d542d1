// Sizes, shapes and names: what the table says without touching a weight.
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

TEST(FormatTable, BitsPerWeightAreThePublishedOnes) {
  const std::pair<const char*, double> expected[] = {{"f32", 32},
                                                     {"f16", 16},
                                                     {"bf16", 16},
                                                     {"khf1", 16},
                                                     {"gf16", 16},
                                                     {"khq4", 5},
                                                     {"khq4-sym", 5},
                                                     {"khq4-v1", 4.5},
                                                     {"khw3", 4},
                                                     {"khq3", 4},
                                                     {"khq3-sym", 4},
                                                     {"q8_0", 8.5},
                                                     {"q4_0", 4.5},
                                                     {"q4_1", 5},
                                                     {"q2_k", 2.625},
                                                     {"q3_k", 3.4375},
                                                     {"q4_k", 4.5},
                                                     {"q5_k", 5.5},
                                                     {"q6_k", 6.5625},
                                                     {"iq4_nl", 4.5},
                                                     {"iq4_xs", 4.25},
                                                     {"mlx4-g32-f16", 5},
                                                     {"mlx4-g64-bf16", 4.5},
                                                     {"mlx4-g64-f32", 5},
                                                     {"mlx3-g128-bf16", 3.25},
                                                     {"mlx1-g32-bf16", 2},
                                                     {"mlx2-g64-f16", 2.5},
                                                     {"mlx5-g32-f32", 7},
                                                     {"mlx6-g64-bf16", 6.5},
                                                     {"mlx8-g128-f16", 8.25},
                                                     {"mxfp4", 4.25},
                                                     {"mxfp8", 8.25},
                                                     {"nvfp4", 4.5},
                                                     {"block-affine3-g64-stream", 3.5},
                                                     {"block-affine3-g64-planes", 3.5},
                                                     {"block-affine2-g16-stream", 4},
                                                     {"block-affine4-g128-stream", 4.25},
                                                     {"int8-golf", 8 + 16.0 / 1024},
                                                     {"int8-row", 8 + 16.0 / 1024},
                                                     {"int6-row", 6 + 16.0 / 1024},
                                                     {"int3-row", 3 + 16.0 / 1024},
                                                     {"int6-row-i8", 8 + 16.0 / 1024},
                                                     {"int6-row-f32", 6 + 32.0 / 1024},
                                                     {"int8-row-sdclip", 8 + 16.0 / 1024}};
  for (const auto& [name, bits] : expected) {
    ASSERT_NE(find_format(name), nullptr) << name;
    EXPECT_DOUBLE_EQ(bits_per_weight(*find_format(name), 768, 1024), bits) << name;
  }
  for (const int bits : {1, 2, 3, 4, 5, 6, 8})
    for (const int group : {32, 64, 128})
      for (const auto& [suffix, parameter_bits] : {std::pair{"f16", 32.0}, {"bf16", 32.0}, {"f32", 64.0}}) {
        const std::string name = fmt::format("mlx{}-g{}-{}", bits, group, suffix);
        ASSERT_NE(find_format(name), nullptr) << name;
        EXPECT_DOUBLE_EQ(bits_per_weight(*find_format(name), 4, 1024), bits + parameter_bits / group) << name;
      }
}

TEST(FormatTable, FlatFormatsCountTheirTail) {
  const FormatPtr khq4 = find_format("khq4");
  EXPECT_EQ(packed_bytes(*khq4, 2, 33), 60u);  // 66 values, three blocks
  EXPECT_EQ(packed_bytes(*khq4, 33, 33), 35u * 20);
  EXPECT_EQ(packed_bytes(*khq4, 1, 1), 20u);
  EXPECT_EQ(packed_bytes(*khq4, 0, 33), 0u);
  EXPECT_DOUBLE_EQ(bits_per_weight(*khq4, 0, 33), 0.0);
  EXPECT_DOUBLE_EQ(bits_per_weight(*khq4, 1, 1), 160.0);
}

TEST(FormatTable, PackedRowsEndOnBytes) {
  EXPECT_EQ(packed_bytes(*find_format("int3-row"), 5, 3), 5u * (2 + 2));
  EXPECT_EQ(packed_bytes(*find_format("int7-row-f32"), 2, 9), 2u * (8 + 4));
  EXPECT_EQ(packed_bytes(*find_format("int6-row"), 1, 1), 3u);
}

TEST(FormatTable, SizesThatDoNotFitAreNoSizes) {
  for (const FormatPtr& format : all_formats()) {
    SCOPED_TRACE(format->name());
    EXPECT_EQ(packed_bytes(*format, 1ull << 32, 1ull << 32), std::nullopt);
    EXPECT_EQ(packed_bytes(*format, kMost, 2), std::nullopt);
    EXPECT_EQ(bits_per_weight(*format, kMost, 2), 0.0);
  }
  EXPECT_EQ(packed_bytes(*find_format("f32"), 1ull << 31, 1ull << 31), std::nullopt);
  EXPECT_EQ(packed_bytes(*find_format("khq4"), 1, kMost), (kMost / 32 + 1) * 20);
}

TEST(FormatTable, GroupsMustDivideTheRow) {
  for (const FormatPtr& format : all_formats()) {
    SCOPED_TRACE(format->name());
    const Layout layout = format->layout(1000);
    const auto why = format->misfit(4, 1000);
    EXPECT_EQ(why.has_value(), layout.share == Share::run_in_row && 1000 % layout.record_run() != 0);
    EXPECT_TRUE(!why || why->find("1000") != std::string::npos);
    EXPECT_FALSE(format->misfit(3, 1024).has_value());
  }
  EXPECT_NE(find_format("mlx4-g64-bf16")->misfit(4, 96).value_or("").find("runs of 64"), std::string::npos);
}

TEST(FormatTable, RowGranuleFillsWholeUnits) {
  const FormatPtr khq4 = find_format("khq4");
  EXPECT_EQ(khq4->row_granule(1000), 4u);
  EXPECT_EQ(khq4->row_granule(33), 32u);
  EXPECT_EQ(khq4->row_granule(64), 1u);
  EXPECT_EQ(khq4->row_granule(16), 2u);
  EXPECT_EQ(khq4->row_granule(0), 1u);
  EXPECT_EQ(find_format("q8_0")->row_granule(32), 1u);
  EXPECT_EQ(find_format("int6-row")->row_granule(33), 1u);
  EXPECT_EQ(find_format("f32")->row_granule(33), 1u);
}

TEST(FormatTable, PlanesAreNamedAndTypedAsStored) {
  const Layout mlx = find_format("mlx3-g128-bf16")->layout(256);
  ASSERT_EQ(mlx.planes.size(), 3u);
  EXPECT_EQ(mlx.planes[0].suffix, "weight");
  EXPECT_EQ(mlx.planes[0].dtype, DType::U32);
  EXPECT_EQ(mlx.planes[0].record_bytes, 48u);
  EXPECT_EQ(mlx.planes[1].suffix, "scales");
  EXPECT_EQ(mlx.planes[1].dtype, DType::BF16);
  EXPECT_EQ(mlx.planes[2].suffix, "biases");
  const Layout cells = find_format("int5-row-i8-f32")->layout(33);
  EXPECT_EQ(cells.planes[0].dtype, DType::I8);
  EXPECT_EQ(cells.planes[0].record_bytes, 33u);
  EXPECT_EQ(cells.planes[1].dtype, DType::F32);
  EXPECT_EQ(find_format("int8-row")->layout(8).planes[0].dtype, DType::I8);
  EXPECT_EQ(find_format("int5-row")->layout(8).planes[0].dtype, DType::U8);
  EXPECT_EQ(find_format("gf16")->layout(8).planes[0].dtype, DType::U16);
}

TEST(FormatTable, FamiliesFollowTheSource) {
  EXPECT_EQ(resolve_format("mlx4-g64", DType::BF16)->name(), "mlx4-g64-bf16");
  EXPECT_EQ(resolve_format("mlx4-g64", DType::F16)->name(), "mlx4-g64-f16");
  EXPECT_EQ(resolve_format("mlx4-g64", DType::F32)->name(), "mlx4-g64-f32");
  EXPECT_EQ(resolve_format("mlx4-g64", DType::U8)->name(), "mlx4-g64-f16");  // packed blocks with f16 scales
  EXPECT_EQ(resolve_format("khq4", DType::F32)->name(), "khq4");
}

TEST(FormatTable, UnknownNamesSuggestCloseOnes) {
  EXPECT_EQ(find_format("khq5"), nullptr);
  EXPECT_EQ(find_format(""), nullptr);
  EXPECT_EQ(find_format("KHQ4"), nullptr);
  EXPECT_ERROR(resolve_format("khq5", DType::BF16), "khq5", "khq4", "khq3", "assay formats");
  EXPECT_ERROR(resolve_format("q8-0", DType::BF16), "q8_0");
  EXPECT_ERROR(resolve_format("mlx7-g64", DType::BF16), "mlx7-g64", "mlx1-g64, mlx2-g64, mlx3-g64");
  EXPECT_ERROR(resolve_format("", DType::BF16), "close names");
}

}  // namespace
}  // namespace assay::test
