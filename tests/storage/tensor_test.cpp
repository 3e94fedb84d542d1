// Decoding rows of tensors: slices that begin and end inside blocks, stored row orders, bad parameters named.
#include "assay/storage/tensor.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/storage/tensor_planes.h"
#include "tests/storage/generated_tensor.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::encode_tensor;
using test::EncodedTensor;

Tensor view(const EncodedTensor& encoded) {
  Tensor tensor;
  tensor.name = "t.weight";
  tensor.file = "m.safetensors";
  tensor.shape = encoded.shape;
  tensor.format = encoded.format;
  for (const std::string& plane : encoded.planes) tensor.planes.push_back(std::as_bytes(std::span(plane)));
  return tensor;
}

TEST(Matrix, ShapesOfAnyRank) {
  EXPECT_EQ(as_matrix({}).rows, 1u);
  EXPECT_EQ(as_matrix({}).columns, 1u);
  EXPECT_EQ(as_matrix({7}).rows, 1u);
  EXPECT_EQ(as_matrix({7}).columns, 7u);
  EXPECT_EQ(as_matrix({2, 3, 5}).rows, 6u);
  EXPECT_EQ(as_matrix({2, 3, 5}).columns, 5u);
  EXPECT_EQ(as_matrix({~0ull, ~0ull, 0}).rows, 0u);
  EXPECT_EQ(as_matrix({1ull << 40, 0}).rows, 0u);  // and nobody makes room for that many
  EXPECT_EQ(shape_text({512, 1536}), "[512, 1536]");
  EXPECT_EQ(shape_text({}), "[]");
}

TEST(Rows, AnySliceEqualsTheWhole) {
  for (const char* format : {"khq4", "khw3", "bf16", "int6-row", "q8_0", "mlx3-g32-f16"}) {
    const Shape shape =
        std::string(format).starts_with("khq") || std::string(format) == "bf16" ? Shape{9, 33} : Shape{9, 64};
    const EncodedTensor encoded = encode_tensor(find_format(format), shape, 4);
    const Tensor tensor = view(encoded);
    const std::uint64_t columns = shape[1];
    EXPECT_EQ(decode_all(tensor), encoded.decoded) << format;
    for (std::uint64_t first = 0; first < 9; ++first)
      for (std::uint64_t rows = 0; first + rows <= 9; ++rows) {
        std::vector<float> out(rows * columns);
        decode_rows(tensor, first, rows, out);
        const auto begin = encoded.decoded.begin() + static_cast<std::ptrdiff_t>(first * columns);
        EXPECT_TRUE(std::equal(out.begin(), out.end(), begin)) << format << " " << first << "+" << rows;
      }
  }
}

TEST(Rows, SlicesThatAreReadForThemselvesHaveTheirChecksums) {
  const EncodedTensor encoded = encode_tensor(find_format("mlx3-g32-f16"), {6, 64}, 4);
  Tensor tensor = view(encoded);
  tensor.checksum = checksum_of(tensor);
  tensor.slice_checksums = slice_checksums_of(tensor, 3);
  ASSERT_EQ(tensor.slice_checksums.size(), 3u);
  for (const std::uint64_t i : {0u, 1u, 2u}) {
    const Tensor slice = row_slice(tensor, 2 * i, 2, "slice");
    EXPECT_EQ(slice.checksum, checksum_of(slice));
    EXPECT_EQ(slice.checksum, tensor.slice_checksums[i]);
  }
  EXPECT_EQ(row_slice(tensor, 0, 6, "all").checksum, tensor.checksum);
  EXPECT_EQ(row_slice(tensor, 1, 2, "across").checksum, std::nullopt);
  EXPECT_EQ(row_slice(tensor, 0, 3, "longer").checksum, std::nullopt);
  EXPECT_TRUE(slice_checksums_of(tensor, 4).empty());
  EXPECT_TRUE(slice_checksums_of(tensor, 0).empty());
  const EncodedTensor shared = encode_tensor(find_format("khq4"), {2, 33}, 4);  // a block lies in both rows
  EXPECT_TRUE(slice_checksums_of(view(shared), 2).empty());
}

TEST(Rows, LargeTensorsDecodeInSteps) {
  const EncodedTensor encoded =
      encode_tensor(find_format("khq4"), {77, 1001}, 3);  // many steps, rows that straddle
  const Tensor tensor = view(encoded);
  EXPECT_EQ(decode_all(tensor), encoded.decoded);
  std::vector<float> out(70 * 1001);
  decode_rows(tensor, 5, 70, out);
  EXPECT_TRUE(std::equal(out.begin(), out.end(), encoded.decoded.begin() + 5 * 1001));
}

TEST(Rows, EmptyTensors) {
  for (const Shape& shape : {Shape{0, 32}, Shape{4, 0}, Shape{0}}) {
    Tensor tensor;
    tensor.shape = shape;
    tensor.format = find_format("f32");
    tensor.planes = {Bytes()};
    EXPECT_TRUE(decode_all(tensor).empty());
  }
}

TEST(StoredLayouts, HalfSplitRowsAreFoundInInterleavedStorage) {
  // Two heads of six rows: logical row h*6 + p*3 + j is stored at h*6 + j*2 + p.
  StoredLayout order;
  order.heads = 2;
  const std::vector<std::uint64_t> stored = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  for (std::uint64_t row = 0; row < stored.size(); ++row)
    EXPECT_EQ(order.stored_row(row, 12), stored[row]) << row;
  EXPECT_EQ(StoredLayout{}.stored_row(7, 12), 7u);
}

TEST(StoredLayouts, DecodedRowsFollowIt) {
  const EncodedTensor encoded = encode_tensor(find_format("q8_0"), {12, 32}, 1);
  Tensor tensor = view(encoded);
  tensor.stored.heads = 2;
  std::vector<float> out(4 * 32);
  decode_rows(tensor, 3, 4, out);
  for (std::uint64_t i = 0; i < 4; ++i) {
    const std::uint64_t stored = tensor.stored.stored_row(3 + i, 12);
    for (std::uint64_t k = 0; k < 32; ++k) EXPECT_EQ(out[i * 32 + k], encoded.decoded[stored * 32 + k]);
  }
}

TEST(Guards, BadUnitsAreNamed) {
  EncodedTensor encoded = encode_tensor(find_format("khq4"), {8, 320}, 2);
  const auto with_scale = [&](std::size_t block, std::uint16_t half) {
    EncodedTensor changed = encoded;
    std::memcpy(changed.planes[0].data() + block * 20, &half, sizeof half);
    return changed;
  };
  for (const std::size_t block : {0u, 40u, 79u})
    for (const std::uint16_t bad : std::initializer_list<std::uint16_t>{0x0000, 0xBC00, 0x7C00, 0x7E00}) {
      const std::string where = fmt::format("m.safetensors: tensor t.weight: block {}: ", block);
      EXPECT_ERROR(decode_all(view(with_scale(block, bad))), where.c_str(), "scale");
    }
  EncodedTensor bias = encoded;
  bias.planes[0][20 * 3 + 3] = '\x7c';
  bias.planes[0][20 * 3 + 2] = '\x00';
  EXPECT_ERROR(decode_all(view(bias)), "tensor t.weight: block 3: ", "bias");
  std::vector<float> row(320);
  decode_rows(view(bias), 1, 1, row);  // row 1 begins at block 10: lazily checked, so this one is fine
}

TEST(Guards, NonFiniteFloatsAreNamed) {
  EncodedTensor encoded = encode_tensor(find_format("f32"), {3, 40}, 2);
  const float bad = NAN;
  std::memcpy(encoded.planes[0].data() + 67 * sizeof bad, &bad, sizeof bad);
  EXPECT_ERROR(decode_all(view(encoded)), "m.safetensors: tensor t.weight: element 67: ", "nan");
  EncodedTensor half = encode_tensor(find_format("bf16"), {3, 40}, 2);
  half.planes[0][2 * 5] = '\x80';
  half.planes[0][2 * 5 + 1] = '\x7f';
  EXPECT_ERROR(decode_all(view(half)), "tensor t.weight: element 5: ", "inf");
}

TEST(Guards, RowFormatsNameTheRow) {
  EncodedTensor encoded = encode_tensor(find_format("int6-row"), {5, 24}, 2);
  const std::uint16_t zero = 0;
  std::memcpy(encoded.planes[1].data() + 2 * 3, &zero, sizeof zero);
  EXPECT_ERROR(decode_all(view(encoded)), "tensor t.weight: row 3: ", "scale");
}

std::vector<Shape> shapes_of(const char* format, const Shape& shape) {
  std::vector<Shape> shapes;
  for (const PlaneArray& array : plane_arrays("t.weight", shape, *find_format(format)))
    shapes.push_back(array.shape);
  return shapes;
}

TEST(Planes, ShapesAsThePublishedLayoutsSay) {
  using testing::ElementsAre;
  EXPECT_THAT(shapes_of("khq4", {6, 64}), ElementsAre(Shape{6, 40}));
  EXPECT_THAT(shapes_of("khq4", {33, 33}), ElementsAre(Shape{35 * 20}));
  EXPECT_THAT(shapes_of("khw3", {2, 3, 32}), ElementsAre(Shape{2, 3, 16}));
  EXPECT_THAT(shapes_of("khq4", {5}), ElementsAre(Shape{20}));
  EXPECT_THAT(shapes_of("q8_0", {4, 96}), ElementsAre(Shape{4, 102}));
  EXPECT_THAT(shapes_of("mlx4-g64-bf16", {4, 128}), ElementsAre(Shape{4, 16}, Shape{4, 2}, Shape{4, 2}));
  EXPECT_THAT(shapes_of("mlx3-g32-f32", {2, 4, 64}),
              ElementsAre(Shape{2, 4, 6}, Shape{2, 4, 2}, Shape{2, 4, 2}));
  EXPECT_THAT(shapes_of("int6-row", {4, 5}), ElementsAre(Shape{4, 4}, Shape{4}));
  EXPECT_THAT(shapes_of("int6-row-i8", {4, 1}), ElementsAre(Shape{4, 1}, Shape{4}));
  EXPECT_THAT(shapes_of("gf16", {4, 5}), ElementsAre(Shape{4, 5}));
  EXPECT_THAT(shapes_of("bf16", {}), ElementsAre(Shape{}));
  EXPECT_THAT(shapes_of("f32", {7}), ElementsAre(Shape{7}));
}

TEST(Planes, NamesFollowTheModule) {
  const auto names = [](const std::string& tensor) {
    std::vector<std::string> list;
    for (const PlaneArray& array : plane_arrays(tensor, {4, 64}, *find_format("mlx4-g64-f16")))
      list.push_back(array.name);
    return list;
  };
  EXPECT_THAT(names("a.b.weight"), testing::ElementsAre("a.b.weight", "a.b.scales", "a.b.biases"));
  EXPECT_THAT(names("a.gate_up_proj"),
              testing::ElementsAre("a.gate_up_proj", "a.gate_up_proj.scales", "a.gate_up_proj.biases"));
}

TEST(Planes, RefuseWhatDoesNotFit) {
  EXPECT_ERROR(plane_arrays("t", {4, 33}, *find_format("q8_0")), "tensor t: [4, 33] as q8_0: ");
  EXPECT_ERROR(plane_arrays("t", {1ull << 40, 1ull << 40}, *find_format("khq4")), "tensor t: shape ",
               "overflows 64 bits");
  EXPECT_ERROR(plane_arrays("t", {1ull << 31, 1ull << 32}, *find_format("f32")), "overflows 64 bits");
}

}  // namespace
}  // namespace assay
