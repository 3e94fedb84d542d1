#include "assay/formats/packed_matrix.h"

#include <gtest/gtest.h>

#include <memory>

#include "assay/formats/table.h"
#include "tests/formats/format_helpers.h"

namespace assay {
namespace {

/// Rows rounded and packed by the format's own rule; the seed tells parts apart.
PackedPart packed_part(const Format& format, std::uint64_t rows, std::uint64_t columns, unsigned seed,
                       PackedMatrix::Owners& owners) {
  const Layout layout = format.layout(columns);
  const std::uint64_t units = unit_count(layout, rows, columns);
  std::vector<Params> params(layout.has_params ? units : 0);
  std::vector<Code> codes(units * layout.run);
  format.reference(test::gaussian(rows * columns, seed), params, codes);
  const auto planes = std::make_shared<std::vector<std::vector<std::byte>>>();
  for (const Plane& plane : layout.planes) planes->emplace_back(layout.bytes(plane, units));
  format.pack(params, codes, std::vector<MutableBytes>(planes->begin(), planes->end()));
  owners.push_back(planes);
  return {rows, {planes->begin(), planes->end()}, {"file", "tensor"}};
}

PackedMatrix matrix_of(const char* format, std::uint64_t columns, const std::vector<std::uint64_t>& rows,
                       const StoredLayout& stored = {}) {
  const FormatPtr found = find_format(format);
  PackedMatrix::Owners owners;
  std::vector<PackedPart> parts;
  for (std::size_t i = 0; i < rows.size(); ++i)
    parts.push_back(packed_part(*found, rows[i], columns, static_cast<unsigned>(i + 1), owners));
  for (PackedPart& part : parts) part.stored = stored;
  return {found, columns, std::move(parts), std::move(owners)};
}

StoredLayout interleaved(std::uint64_t heads) {
  StoredLayout stored;
  stored.heads = heads;
  return stored;
}

std::vector<float> decoded(const PackedMatrix& matrix, std::uint64_t first, std::uint64_t count) {
  std::vector<float> out(count * matrix.columns());
  matrix.decode(first, count, out);
  return out;
}

std::vector<float> part_of(const std::vector<float>& all, std::uint64_t columns, std::uint64_t first,
                           std::uint64_t count) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first * columns);
  return {begin, begin + static_cast<std::ptrdiff_t>(count * columns)};
}

// Rows of 40 share blocks of 32 with their neighbours; parts begin anew.
TEST(PackedMatrix, SlicesAndPartsAreTheRowsTheySay) {
  for (const auto& [format, columns] : {std::pair{"khq4", 40u}, {"q8_0", 64u}, {"int6-row", 33u}}) {
    const PackedMatrix one = matrix_of(format, columns, {9}), two = matrix_of(format, columns, {9, 7});
    EXPECT_EQ(two.rows(), 16u);
    const auto all = decoded(two, 0, 16);
    EXPECT_EQ(part_of(all, columns, 0, 9), decoded(one, 0, 9)) << format;
    EXPECT_NE(part_of(all, columns, 9, 7), part_of(all, columns, 0, 7)) << format;
    for (std::uint64_t first = 0; first < 16; ++first)
      for (std::uint64_t count = 0; first + count <= 16; ++count) {
        ASSERT_EQ(decoded(two, first, count), part_of(all, columns, first, count)) << format << first;
        ASSERT_EQ(decoded(two.slice(first, count), 0, count), part_of(all, columns, first, count));
      }
    EXPECT_EQ(decoded(two.slice(3, 10).slice(2, 5), 1, 4), part_of(all, columns, 6, 4)) << format;
  }
}

// A kernel reads planes in place only where they are of these rows and of nobody else's.
TEST(PackedMatrix, PlanesAreOfWholeUnitsOrNone) {
  const PackedMatrix flat = matrix_of("khq4", 40, {9});  // four rows are five blocks
  ASSERT_TRUE(flat.planes());
  EXPECT_EQ(flat.planes()->front().size(), flat.packed_bytes());
  EXPECT_FALSE(flat.slice(1, 4).planes());
  EXPECT_FALSE(flat.slice(0, 3).planes());
  EXPECT_FALSE(flat.slice(4, 3).planes());
  ASSERT_TRUE(flat.slice(4, 4).planes());
  EXPECT_EQ(flat.slice(4, 4).planes()->front().data(),
            flat.planes()->front().data() + 5 * (flat.packed_bytes() / 12));
  ASSERT_TRUE(flat.slice(8, 1).planes());  // its last block is short and nobody else's
  EXPECT_FALSE(matrix_of("khq4", 40, {4, 4}).planes());
  EXPECT_FALSE(matrix_of("q8_0", 32, {8}, interleaved(2)).planes());
  ASSERT_TRUE(matrix_of("q8_0", 32, {8}).slice(3, 2).planes());
}

TEST(PackedMatrix, RowOrderIsResolved) {
  const PackedMatrix stored = matrix_of("q8_0", 32, {12}),
                     turned = matrix_of("q8_0", 32, {12}, interleaved(2));
  const StoredLayout order = interleaved(2);
  for (std::uint64_t row = 0; row < 12; ++row) {
    EXPECT_EQ(decoded(turned, row, 1), decoded(stored, order.stored_row(row, 12), 1)) << row;
    EXPECT_EQ(decoded(turned.slice(row, 12 - row), 0, 1), decoded(turned, row, 1)) << row;
  }
}

TEST(PackedMatrix, FloatsAreTheFloats) {
  const std::vector<float> values = test::gaussian(6 * 5, 3);
  const PackedMatrix matrix = PackedMatrix::of_floats(values, 6, 5);
  EXPECT_EQ(decoded(matrix, 0, 6), values);
  EXPECT_EQ(matrix.packed_bytes(), values.size() * sizeof(float));
}

}  // namespace
}  // namespace assay
