// The safetensors header: every guard with its own message, and what is legal though unusual.
#include "assay/storage/safetensors.h"

#include <gmock/gmock.h>

#include "assay/base/error.h"
#include "tests/storage/safetensors_builder.h"

namespace assay {
namespace {

using test::build_safetensors;
using test::BuiltArray;
using test::length_prefix;
using test::raw_safetensors;

std::vector<SafetensorsEntry> parse_safetensors(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "m.safetensors");
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets +
         "}";
}

TEST(SafetensorsHeader, ReadsEntriesInDataOrder) {
  const auto entries =
      parse_safetensors(build_safetensors({{"z", DType::F32, {2, 3}, ""}, {"a", DType::U8, {5}, ""}}));
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "z");
  EXPECT_EQ(entries[0].shape, (Shape{2, 3}));
  EXPECT_EQ(entries[0].end - entries[0].begin, 24u);
  EXPECT_EQ(entries[1].name, "a");
  EXPECT_EQ(entries[1].begin, entries[0].end);
}

TEST(SafetensorsHeader, AcceptsScalarsZeroSizesPaddingAndMetadata) {
  EXPECT_EQ(parse_safetensors(build_safetensors({{"s", DType::F64, {}, ""}}))[0].shape, Shape{});
  EXPECT_EQ(
      parse_safetensors(build_safetensors({{"e", DType::F32, {0, 7}, ""}, {"b", DType::I8, {1}, ""}}, 5))
          .size(),
      2u);
  EXPECT_TRUE(parse_safetensors(raw_safetensors("{}", "")).empty());
  EXPECT_TRUE(parse_safetensors(raw_safetensors(R"({"__metadata__":{"format":"mlx"}})", "")).empty());
}

TEST(SafetensorsHeader, EveryDtype) {
  for (const char* name : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "U16", "I16", "F16", "BF16", "U32",
                           "I32", "F32", "U64", "I64", "F64"}) {
    const DType dtype = *parse_dtype(name);
    EXPECT_EQ(parse_safetensors(build_safetensors({{"t", dtype, {3}, ""}}))[0].dtype, dtype) << name;
  }
}

TEST(SafetensorsHeader, RefusesTruncatedFiles) {
  const std::string whole = build_safetensors({{"t", DType::F32, {4}, ""}});
  for (const std::size_t cut : {0, 3, 4, 7})
    EXPECT_ERROR(parse_safetensors(whole.substr(0, cut)), "m.safetensors: ", "at least 8", "truncated");
  for (const std::size_t cut : {8u, 12u, static_cast<unsigned>(whole.size() - 17)})
    EXPECT_ERROR(parse_safetensors(whole.substr(0, cut)), "m.safetensors: header of ", "the file has");
  for (const std::size_t missing : {1u, 15u, 16u})
    EXPECT_ERROR(parse_safetensors(whole.substr(0, whole.size() - missing)), "tensor t: data ends at byte 16",
                 "truncated");
}

TEST(SafetensorsHeader, RefusesHeaderLengths) {
  EXPECT_ERROR(parse_safetensors(length_prefix(~0ull) + "{}"), "header of 18446744073709551615 bytes",
               "the file has 2");
  EXPECT_ERROR(parse_safetensors(length_prefix(~0ull - 7) + "{}"), "header of 18446744073709551608 bytes");
  EXPECT_ERROR(parse_safetensors(length_prefix(3) + "{}"), "header of 3 bytes", "the file has 2");
  EXPECT_ERROR(parse_safetensors(length_prefix(100'000'001) + std::string(100'000'001, ' ')),
               "at most 100000000");
}

TEST(SafetensorsHeader, RefusesWhatIsNoJsonObject) {
  EXPECT_ERROR(parse_safetensors(raw_safetensors("", "")), "does not begin with '{'");
  EXPECT_ERROR(parse_safetensors(raw_safetensors(" {}", "")), "does not begin with '{'");
  EXPECT_ERROR(parse_safetensors(raw_safetensors("[]", "")), "does not begin with '{'");
  EXPECT_ERROR(parse_safetensors(raw_safetensors("{\"a\":", "")), "header: not valid JSON");
  EXPECT_ERROR(parse_safetensors(raw_safetensors("{\"a\":\xff\xfe}", "")), "header: not valid JSON");
  EXPECT_ERROR(parse_safetensors(raw_safetensors("{\"a\":" + std::string(100'000, '['), "")),
               "nested deeper");
  EXPECT_ERROR(parse_safetensors(raw_safetensors(std::string("{}\0", 3), "")), "header: a NUL byte");
  const std::string t = entry("t", "U8", "[1]", "[0,1]");
  EXPECT_ERROR(parse_safetensors(raw_safetensors("{" + t + "," + t + "}", "x")), "duplicate key \"t\"");
}

TEST(SafetensorsHeader, RefusesMalformedEntries) {
  const auto one = [](const std::string& body) { return raw_safetensors("{\"t\":" + body + "}", "abcd"); };
  EXPECT_ERROR(parse_safetensors(one("7")), "tensor t: described by number, an object expected");
  EXPECT_ERROR(parse_safetensors(one("{}")), "tensor t: key \"dtype\" is missing");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":3})")), "tensor t: key \"dtype\" is 3");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"F4"})")), "tensor t: dtype \"F4\" is not supported");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"f32"})")), "dtype \"f32\" is not supported");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8"})")), "tensor t: no array \"shape\"");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":4})")), "no array \"shape\"");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[-4]})")),
               "dimension is -4, a non-negative integer");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[4.0]})")),
               "dimension is 4.0, a non-negative integer");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":["4"]})")), "dimension is \"4\"");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[1,1,1,1,1,1,1,1,4]})")),
               "9 dimensions, at most 8");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[4]})")), "no \"data_offsets\"");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[4],"data_offsets":[0]})")),
               "no \"data_offsets\"");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[4],"data_offsets":[0,-4]})")),
               "data offset is -4");
  EXPECT_ERROR(parse_safetensors(one(R"({"dtype":"U8","shape":[4],"data_offsets":[0.5,4]})")),
               "data offset is 0.5");
  EXPECT_ERROR(parse_safetensors(raw_safetensors(R"({"__metadata__":[]})", "")), "__metadata__ is array");
  EXPECT_ERROR(parse_safetensors(raw_safetensors(R"({"__metadata__":{"n":1}})", "")),
               "__metadata__ \"n\" is number");
}

TEST(SafetensorsHeader, RefusesNamesThatWouldBreakALine) {
  EXPECT_ERROR(parse_safetensors(raw_safetensors("{" + entry("a\\nb", "U8", "[1]", "[0,1]") + "}", "x")),
               "m.safetensors: tensor \"a\\nb\": control characters in its name");
}

TEST(SafetensorsHeader, RefusesBadRanges) {
  const auto file = [](const std::string& entries, std::size_t bytes) {
    return raw_safetensors("{" + entries + "}", std::string(bytes, 'x'));
  };
  EXPECT_ERROR(parse_safetensors(file(entry("t", "U8", "[4]", "[4,0]"), 4)),
               "tensor t: data begins at 4 and ends before it, at 0");
  EXPECT_ERROR(parse_safetensors(file(entry("t", "U8", "[5]", "[0,5]"), 4)), "tensor t: data ends at byte 5",
               "has 4");
  EXPECT_ERROR(parse_safetensors(file(entry("t", "U8", "[4]", "[0,18446744073709551615]"), 4)),
               "ends at byte 18446744073709551615");
  EXPECT_ERROR(parse_safetensors(file(entry("t", "U16", "[3]", "[0,4]"), 4)),
               "tensor t: 4 bytes of data, U16 [3] needs 6");
  const std::string a = entry("a", "U8", "[4]", "[0,4]");
  EXPECT_ERROR(parse_safetensors(file(a + "," + entry("b", "U8", "[4]", "[3,7]"), 7)),
               "tensor b: data overlaps", "by 1 bytes");
  EXPECT_ERROR(parse_safetensors(file(a + "," + entry("b", "U8", "[4]", "[0,4]"), 4)), "data overlaps");
  EXPECT_ERROR(parse_safetensors(file(a + "," + entry("b", "U8", "[4]", "[5,9]"), 9)),
               "tensor b: a gap of 1 bytes before it");
  EXPECT_ERROR(parse_safetensors(file(entry("b", "U8", "[4]", "[1,5]"), 5)),
               "tensor b: a gap of 1 bytes before it");
  EXPECT_ERROR(parse_safetensors(file(a, 5)), "1 bytes after the last tensor");
  EXPECT_ERROR(parse_safetensors(raw_safetensors("{}", "x")), "1 bytes after the last tensor");
}

TEST(SafetensorsHeader, RefusesShapesThatWrap) {
  // Each product is congruent to the number of bytes given modulo 2^64: unchecked code would accept it.
  struct Case {
    const char* dtype;
    const char* shape;
    std::size_t bytes;
  };
  for (const Case& wrap : {Case{"U16", "[9223372036854775808]", 0}, Case{"U16", "[9223372036854775812]", 8},
                           Case{"F32", "[4611686018427387905]", 4}, Case{"U8", "[4294967296,4294967296]", 0},
                           Case{"F64", "[2305843009213693952]", 0}}) {
    const std::string offsets = "[0," + std::to_string(wrap.bytes) + "]";
    EXPECT_ERROR(parse_safetensors(raw_safetensors("{" + entry("t", wrap.dtype, wrap.shape, offsets) + "}",
                                                   std::string(wrap.bytes, 'x'))),
                 "tensor t: shape [", "overflows 64 bits");
  }
  EXPECT_ERROR(parse_safetensors(
                   raw_safetensors("{" + entry("t", "U8", "[4611686018427387904]", "[0,4]") + "}", "abcd")),
               "4 bytes of data, U8 [4611686018427387904] needs 4611686018427387904");
}

// [2^63, 0] takes no bytes: no size of the file would bound what rows cost.
TEST(SafetensorsHeader, RefusesHugeDimensionsOfNothing) {
  for (const char* shape : {"[9223372036854775808,0]", "[0,1099511627776]", "[1000000,2,0]"})
    EXPECT_ERROR(parse_safetensors(raw_safetensors("{" + entry("t", "BF16", shape, "[0,0]") + "}", "")),
                 "tensor t: shape [", "has no elements");
  EXPECT_EQ(parse_safetensors(raw_safetensors("{" + entry("t", "BF16", "[7,0]", "[0,0]") + "}", ""))[0].shape,
            (Shape{7, 0}));
}

class Shards : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    test::write_bytes(folder_.file(name), content);
  }
  void write_shards() {
    write("a.safetensors", build_safetensors({{"x", DType::F32, {2}, ""}}));
    write("b.safetensors", build_safetensors({{"y", DType::F32, {3}, ""}}));
  }
  void write_index(const std::string& weight_map) {
    write(kSafetensorsIndex, "{\"metadata\":{\"total_size\":20},\"weight_map\":" + weight_map + "}");
  }
  SafetensorsDirectory open() { return open_safetensors_directory(folder_.path().string()); }
  test::TemporaryFolder folder_;
};

TEST_F(Shards, AnIndexOfNothingIsNoModel) {
  write_index("{}");
  EXPECT_ERROR(open(), "weight_map", "empty");
}

TEST_F(Shards, SingleFileAndIndex) {
  write(kSafetensorsFile, build_safetensors({{"x", DType::F32, {2}, ""}}));
  EXPECT_TRUE(has_safetensors(folder_.path().string()));
  EXPECT_EQ(open().files.size(), 1u);
  std::filesystem::remove(folder_.file(kSafetensorsFile));
  EXPECT_FALSE(has_safetensors(folder_.path().string()));
  write_shards();
  write_index(R"({"x":"a.safetensors","y":"b.safetensors"})");
  EXPECT_TRUE(has_safetensors(folder_.path().string()));
  const SafetensorsDirectory opened = open();
  EXPECT_EQ(opened.files.size(), 2u);
  EXPECT_EQ(opened.arrays.at("y").shape, Shape{3});
  EXPECT_EQ(opened.arrays.at("y").bytes.size(), 12u);
}

TEST_F(Shards, RefusesPathsOutOfTheDirectory) {
  write_shards();
  for (const char* bad : {"../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", ""}) {
    write_index(std::string("{\"x\":\"") + bad + "\"}");
    EXPECT_ERROR(open(), kSafetensorsIndex, "is not a plain file name inside the directory");
  }
  write_index(R"({"x":"a.safetensors\u0000"})");
  EXPECT_ERROR(open(), "is not a plain file name");
  test::TemporaryFolder elsewhere;
  test::write_bytes(elsewhere.file("o.safetensors"), build_safetensors({{"x", DType::F32, {2}, ""}}));
  std::filesystem::create_symlink(elsewhere.file("o.safetensors"), folder_.file("o.safetensors"));
  write_index(R"({"x":"o.safetensors"})");
  EXPECT_ERROR(open(), "o.safetensors: a link out of the directory");
  std::filesystem::create_symlink("nowhere", folder_.file("dangling.safetensors"));
  write_index(R"({"x":"dangling.safetensors"})");
  EXPECT_ERROR(open(), "dangling.safetensors: cannot open");
  std::filesystem::create_symlink("a.safetensors", folder_.file("inside.safetensors"));
  write_index(R"({"x":"inside.safetensors"})");
  EXPECT_EQ(open().arrays.size(), 1u);
}

TEST_F(Shards, RefusesDisagreementOfIndexAndShards) {
  write_shards();
  write_index(R"({"x":"a.safetensors","y":"c.safetensors"})");
  EXPECT_ERROR(open(), "shard c.safetensors is missing");
  write_index(R"({"x":"a.safetensors","y":"b.safetensors","z":"b.safetensors"})");
  EXPECT_ERROR(open(), "tensor z: not in its shard b.safetensors");
  write_index(R"({"x":"a.safetensors","q":"b.safetensors"})");
  EXPECT_ERROR(open(), "b.safetensors: tensor y: not in the index");
  write_index(R"({"x":"b.safetensors","y":"a.safetensors"})");
  EXPECT_ERROR(open(), "a.safetensors: tensor x: the index says it is in b.safetensors");
  write("b.safetensors", build_safetensors({{"y", DType::F32, {3}, ""}, {"x", DType::F32, {2}, ""}}));
  write_index(R"({"x":"a.safetensors","y":"b.safetensors"})");
  EXPECT_ERROR(open(), "b.safetensors: tensor x: also in ", "a.safetensors");
}

TEST_F(Shards, RefusesAmbiguousOrMalformedIndexes) {
  write_shards();
  write_index(R"({"x":"a.safetensors","y":"b.safetensors"})");
  write(kSafetensorsFile, build_safetensors({{"x", DType::F32, {2}, ""}}));
  EXPECT_ERROR(open(), "does not name model.safetensors, which lies beside it");
  write(kSafetensorsIndex, "{}");
  EXPECT_ERROR(open(), "no object \"weight_map\"");
  write_index(R"({"x":3})");
  EXPECT_ERROR(open(), "tensor x: shard is number, a file name expected");
  write_index(R"({"x":"a.safetensors","x":"b.safetensors"})");
  EXPECT_ERROR(open(), "duplicate key \"x\"");
}

TEST_F(Shards, PlainTensorsOfAnyAlignment) {
  const std::vector<float> values = {1.5f, -2.0f, 3.25f};
  for (std::size_t padding = 0; padding < 4; ++padding) {
    write(kSafetensorsFile,
          build_safetensors({{"x", DType::F32, {3}, test::bytes_of(values)}, {"n", DType::I64, {1}, ""}},
                            padding));
    const SafetensorsDirectory opened = open();
    const Tensor tensor = plain_tensor("x", opened.arrays.at("x"));
    EXPECT_THAT(decode_all(tensor), testing::ElementsAreArray(values));
    const Tensor buffer = plain_tensor("n", opened.arrays.at("n"));
    EXPECT_EQ(buffer.format, nullptr);
    EXPECT_ERROR(decode_all(buffer), "tensor n: stored as I64, which is no weight format");
  }
}

}  // namespace
}  // namespace assay
