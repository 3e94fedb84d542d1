// Stored layouts against plain loops: what is stored under each of them comes back as the format's planes.
#include "assay/formats/plane_layout.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>

namespace assay::test {
namespace {

using Row = std::vector<std::uint32_t>;  // elements of one logical row
using Stored = std::vector<std::byte>;

constexpr std::uint64_t kRows = 37, kColumns = 96, kRun = 32;

std::vector<Row> random_rows(std::size_t elements, std::uint32_t limit) {
  std::mt19937 random(7);
  std::vector<Row> rows(kRows, Row(elements));
  for (Row& row : rows)
    for (std::uint32_t& value : row) value = static_cast<std::uint32_t>(random()) % limit;
  return rows;
}

template <class T>
void append(Stored& stored, T value) {
  stored.resize(stored.size() + sizeof value);
  std::memcpy(stored.data() + stored.size() - sizeof value, &value, sizeof value);
}

/// A layout of one plane of `bytes` a unit.
Layout one_plane(DType dtype, std::size_t bytes) {
  return {Share::run_in_row, kRun, true, 1, {{"weight", dtype, bytes}}};
}

Stored gather(const StoredLayout& stored, const Layout& layout, const Stored& bytes, std::uint64_t first,
              std::uint64_t count) {
  const std::vector<Bytes> planes = {Bytes(bytes)};
  std::vector<Stored> scratch(1);
  const auto views = gather_planes(stored, layout, {kRows, kColumns, first, count}, planes, scratch);
  return {views[0].begin(), views[0].end()};
}

const std::pair<std::uint64_t, std::uint64_t> kRanges[] = {{0, kRows}, {5, 9}, {kRows - 1, 1}, {3, 0}};

TEST(PlaneLayout, TransposedElementsComeBackByRows) {
  // Three units a row, four elements of two bytes each.
  const std::vector<Row> rows = random_rows(12, 1 << 16);
  Stored stored;
  for (std::size_t e = 0; e < 12; ++e)
    for (const Row& row : rows) append(stored, static_cast<std::uint16_t>(row[e]));
  StoredLayout layout;
  layout.planes = {{.transposed = true}};
  for (const auto& [first, count] : kRanges) {
    Stored expected;
    for (std::uint64_t n = first; n < first + count; ++n)
      for (const std::uint32_t value : rows[n]) append(expected, static_cast<std::uint16_t>(value));
    EXPECT_EQ(gather(layout, one_plane(DType::F16, 8), stored, first, count), expected) << first;
  }
}

/// Integers along the rows, bit by bit.
Stored pack_along_rows(const std::vector<Row>& rows, std::uint64_t bits, bool transposed) {
  const std::size_t elements = rows[0].size(), words = (kRows * bits + 31) / 32;
  std::vector<std::uint32_t> packed(words * elements);
  for (std::size_t n = 0; n < kRows; ++n)
    for (std::size_t e = 0; e < elements; ++e)
      for (std::uint64_t bit = 0; bit < bits; ++bit) {
        const std::uint64_t at = n * bits + bit, word = at / 32;
        packed[transposed ? e * words + word : word * elements + e] |= (rows[n][e] >> bit & 1u) << at % 32;
      }
  Stored stored;
  for (const std::uint32_t word : packed) append(stored, word);
  return stored;
}

TEST(PlaneLayout, IntegersPackedAlongRowsComeBackAsBytes) {
  for (const int bits : {2, 3, 4, 8})
    for (const bool transposed : {false, true}) {
      const std::vector<Row> rows = random_rows(3, 1u << bits);
      const Stored stored = pack_along_rows(rows, static_cast<std::uint64_t>(bits), transposed);
      StoredLayout layout;
      layout.planes = {{.transposed = transposed, .packed_bits = bits}};
      for (const auto& [first, count] : kRanges) {
        Stored expected;
        for (std::uint64_t n = first; n < first + count; ++n)
          for (const std::uint32_t value : rows[n]) append(expected, static_cast<std::uint8_t>(value));
        EXPECT_EQ(gather(layout, one_plane(DType::U8, 1), stored, first, count), expected)
            << bits << " bits, rows from " << first;
      }
    }
}

TEST(PlaneLayout, ABlocksRecordStandsForEachOfItsUnits) {
  // 37 x 96 in blocks of 16 x 64: three by two, the last ones smaller; units of 32.
  Layout layout = {Share::block, kRun, true, 1, {{"scale", DType::U8, 1, true}}, {16, 64}};
  EXPECT_EQ(record_count(layout, layout.planes[0], kRows, kColumns), 6u);
  const Stored stored = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}, std::byte{5}, std::byte{6}};
  for (const auto& [first, count] : kRanges) {
    Stored expected;
    for (std::uint64_t n = first; n < first + count; ++n)
      for (std::uint64_t k = 0; k < kColumns; k += kRun) expected.push_back(stored[n / 16 * 2 + k / 64]);
    EXPECT_EQ(gather({}, layout, stored, first, count), expected) << first;
  }
}

TEST(PlaneLayout, PlainPlanesAreViews) {
  const Stored stored(kRows * 3 * 4, std::byte{9});
  const std::vector<Bytes> planes = {Bytes(stored)};
  std::vector<Stored> scratch(1);
  const auto views = gather_planes({}, one_plane(DType::U32, 4), {kRows, kColumns, 2, 3}, planes, scratch);
  EXPECT_EQ(views[0].data(), stored.data() + 2 * 12);
  EXPECT_EQ(views[0].size(), 36u);
  EXPECT_TRUE(is_plain({}, one_plane(DType::U32, 4)));
}

TEST(PlaneLayout, PermutedColumnsGoToTheirUnitsAndBack) {
  StoredLayout layout;
  layout.columns = std::make_shared<const std::vector<std::uint32_t>>(std::vector<std::uint32_t>{2, 0, 3, 1});
  std::vector<Code> codes = {10, 11, 12, 13, 20, 21, 22, 23};  // two rows
  order_codes(layout, codes);
  EXPECT_EQ(codes, (std::vector<Code>{12, 10, 13, 11, 22, 20, 23, 21}));
  std::vector<float> weights(codes.begin(), codes.end());
  order_weights(layout, weights);
  EXPECT_EQ(weights, (std::vector<float>{10, 11, 12, 13, 20, 21, 22, 23}));
  EXPECT_FALSE(is_plain(layout, one_plane(DType::U32, 4)));
}

TEST(PlaneLayout, BlocksCountAndMeasure) {
  const Layout layout = {
      Share::block, kRun, true, 1, {{"weight", DType::U8, kRun}, {"scale", DType::F32, 4, true}}, {16, 64}};
  EXPECT_EQ(unit_count(layout, kRows, kColumns), kRows * 3);
  EXPECT_EQ(record_count(layout, layout.planes[0], kRows, kColumns), kRows * 3);
  EXPECT_EQ(record_count(layout, layout.planes[1], 16, 64), 1u);
  EXPECT_EQ(record_count(layout, layout.planes[1], 17, 65), 4u);
  EXPECT_EQ(record_count(layout, layout.planes[1], 0, 96), 0u);
}

}  // namespace
}  // namespace assay::test
