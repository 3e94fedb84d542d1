// Lattice tensor files: golden files, and the guards of docs/formats.md, "Reader guards", each on its own
// branch.
#include "assay/storage/lattice_file.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "tests/storage/lattice_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

constexpr std::uint64_t kAll = ~std::uint64_t{0};

LatticeHeader parse_lattice(const std::string& file, const std::string& path = "dir/t.q4") {
  return parse_lattice_file(std::as_bytes(std::span(file)), path);
}

TEST(LatticeFile, ParsesEveryKind) {
  struct Case {
    std::string file;
    const char* path;
    const char* format;
  };
  const std::vector<std::uint64_t> dims = {3, 32};
  const Case cases[] = {
      {ones_q4(dims), "t.q4", "khq4"},
      {lattice_bytes("KHQ4", 1, 2, dims, 96, std::string(54, 'x')), "t.q4", "khq4-v1"},
      {ones_w3(dims), "t.w3", "khw3"},
      {ones_w3(dims, "KHQ3"), "t.q3", "khq3"},
      {ones_f16(dims), "t.f16", "khf1"},
  };
  for (const Case& kind : cases) {
    const LatticeHeader header = parse_lattice(kind.file, kind.path);
    EXPECT_EQ(header.format->name(), kind.format);
    EXPECT_EQ(header.shape, (Shape{3, 32}));
    EXPECT_EQ(header.bytes, 36u);
  }
}

TEST(LatticeFile, HeaderLengthFollowsTheRank) {
  EXPECT_EQ(parse_lattice(ones_q4({5})).bytes, 28u);
  EXPECT_EQ(parse_lattice(ones_q4({2, 33})).bytes, 36u);
  EXPECT_EQ(parse_lattice(ones_q4({2, 3, 4})).bytes, 44u);
  EXPECT_EQ(parse_lattice(ones_q4({1, 1, 1, 1, 1, 1, 1, 7})).bytes, 84u);
}

TEST(LatticeFile, WritesTheHeaderItReads) {
  const LatticeKind* kind = lattice_kind_of_format("khq4");
  ASSERT_NE(kind, nullptr);
  EXPECT_EQ(to_hex(lattice_header(*kind, {2, 33})),
            "4b485134020000000200000002000000000000002100000000000000"
            "4200000000000000");
  EXPECT_EQ(lattice_kind_of_format("khq4-sym"), kind);
  EXPECT_EQ(lattice_kind_of_format("khq4-v1"), nullptr);  // read, never written
  EXPECT_EQ(lattice_kind_of_format("q4_0"), nullptr);
}

TEST(LatticeFile, ZeroDimensionsHoldNothing) {
  EXPECT_EQ(parse_lattice(lattice_bytes("KHQ4", 2, 2, {0, 7}, 0, "")).shape, (Shape{0, 7}));
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, 2, {0, kAll}, 0, "")),
               "no elements, but a dimension beyond");
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, 2, {0, 7}, 7, "")),
               "element count is 7, shape [0, 7] has 0");
}

// An unchecked (n + 31) / 32 gives no blocks for the first two, so that an empty payload would do.
TEST(LatticeFile, RefusesCountsWhoseRoundingUpWraps) {
  for (const std::uint64_t count : {kAll, kAll - 30, kAll - 31})
    for (const char* path : {"t.q4", "t.w3", "t.q3"}) {
      const std::string magic = path[2] == 'w' ? "KHW3" : path[3] == '4' ? "KHQ4" : "KHQ3";
      const std::uint32_t version = magic == "KHQ4" ? 2 : 1;
      EXPECT_ERROR(parse_lattice(lattice_bytes(magic, version, 1, {count}, count, ""), path), path,
                   "payload is 0 bytes", "truncated");
    }
}

// Unchecked, the payloads wrap to the 0, 8 and 4 bytes that are there.
TEST(LatticeFile, RefusesPayloadsThatWrap) {
  const std::uint64_t half = std::uint64_t{1} << 63;
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHF1", 1, 1, {half}, half, ""), "t.f16"), "exceeds 2^64 bytes");
  EXPECT_ERROR(
      parse_lattice(lattice_bytes("KHF1", 1, 1, {half + 4}, half + 4, std::string(8, '\0')), "t.f16"),
      "exceeds 2^64 bytes");
  const std::uint64_t largest = half - 1;  // 2^64 - 2 bytes of payload: only the header's length overflows
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHF1", 1, 1, {largest}, largest, ""), "t.f16"),
               "exceeds 2^64 bytes");
  const std::uint64_t quarter = std::uint64_t{1} << 62;  // no overflow: the file's length must catch it
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHF1", 1, 1, {quarter}, quarter, ""), "t.f16"), "truncated");
}

TEST(LatticeFile, RefusesShapesThatWrap) {
  const std::uint64_t half = std::uint64_t{1} << 32;
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, 2, {half, half}, 0, "")),
               "shape [4294967296, 4294967296]", "more than 2^64 elements");
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHF1", 1, 3, {half, half, 3}, 0, ""), "t.f16"),
               "more than 2^64 elements");
}

TEST(LatticeFile, RefusesTheRank) {
  for (const std::uint32_t rank : {0u, 9u, 4294967295u}) {
    const std::string why = std::to_string(rank) + " dimensions, 1 to 8 expected";
    EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, rank, {1}, 1, std::string(100, '\0'))), why.c_str());
  }
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, 8, {1}, 1, std::string(20, '\0'))),
               "header of 8 dimensions needs 84", "truncated");
}

TEST(LatticeFile, RefusesACountThatIsNotTheShapes) {
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, 2, {2, 33}, 64, std::string(40, '\0'))),
               "dir/t.q4: element count is 64, shape [2, 33] has 66");
  EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", 2, 2, {2, 33}, 67, std::string(60, '\0'))),
               "dir/t.q4: element count is 67, shape [2, 33] has 66");
}

TEST(LatticeFile, RefusesEveryTruncation) {
  for (const auto& [path, file] : {std::pair<const char*, std::string>{"t.q4", ones_q4({2, 33})},
                                   {"t.w3", ones_w3({2, 32})},
                                   {"t.q3", ones_w3({2, 32}, "KHQ3")},
                                   {"t.f16", ones_f16({2, 3})}}) {
    for (std::size_t length = 0; length < file.size(); ++length)
      EXPECT_ERROR(parse_lattice(file.substr(0, length), path), path, "truncated");
    for (const std::size_t length : {0, 3, 4, 11}) {
      const std::string why = std::to_string(length) + " bytes, a header needs";
      EXPECT_ERROR(parse_lattice(file.substr(0, length), path), why.c_str());
    }
    EXPECT_ERROR(parse_lattice(file.substr(0, 35), path), "35 bytes, its header of 2 dimensions needs 36");
    EXPECT_ERROR(parse_lattice(file.substr(0, 36), path), "payload is 0 bytes, header needs");
    EXPECT_ERROR(parse_lattice(file.substr(0, 37), path), "payload is 1 bytes, header needs");
  }
}

TEST(LatticeFile, RefusesTrailingBytes) {
  EXPECT_ERROR(parse_lattice(ones_q4({2, 33}) + "x"), "dir/t.q4: 1 bytes after the payload");
  EXPECT_ERROR(parse_lattice(ones_q4({2, 33}) + std::string(20, '\0')), "20 bytes after the payload");
  EXPECT_ERROR(parse_lattice(ones_f16({3}) + std::string(2, '\0'), "t.f16"), "2 bytes after the payload");
}

TEST(LatticeFile, RefusesVersions) {
  for (const std::uint32_t version : {0u, 3u, 4294967295u}) {
    const std::string why = "KHQ4 version is " + std::to_string(version) + ", 2 or 1 expected";
    EXPECT_ERROR(parse_lattice(lattice_bytes("KHQ4", version, 1, {32}, 32, std::string(20, '\0'))),
                 why.c_str());
  }
  for (const std::uint32_t version : {0u, 2u, 3u, 4294967295u})
    for (const auto& [magic, path] :
         {std::pair("KHW3", "t.w3"), std::pair("KHQ3", "t.q3"), std::pair("KHF1", "t.f16")}) {
      const std::string why = std::string(magic) + " version is " + std::to_string(version) + ", 1 expected";
      EXPECT_ERROR(parse_lattice(lattice_bytes(magic, version, 1, {32}, 32, std::string(16, '\0')), path),
                   why.c_str());
    }
}

TEST(LatticeFile, RefusesTheMagicOfASibling) {
  const std::vector<std::pair<const char*, const char*>> kinds = {
      {"KHQ4", "t.q4"}, {"KHW3", "t.w3"}, {"KHQ3", "t.q3"}, {"KHF1", "t.f16"}};
  for (const auto& [expected, path] : kinds)
    for (const auto& [magic, other] : kinds) {
      if (std::string_view(path) == other) continue;
      const std::string why = std::string("magic is ") + magic + ", " + expected + " expected";
      EXPECT_ERROR(parse_lattice(lattice_bytes(magic, 1, 1, {32}, 32, ""), path), path, why.c_str());
    }
  EXPECT_ERROR(parse_lattice(std::string(64, '\0')), "magic is 00000000, KHQ4 expected");
  EXPECT_ERROR(parse_lattice(ones_q4({32}), "dir/t.bin"), "dir/t.bin: not the name of a lattice tensor file");
}

}  // namespace
}  // namespace assay
