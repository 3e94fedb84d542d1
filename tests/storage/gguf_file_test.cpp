// The GGUF container's guards: each mutation must hit its own branch.
#include "assay/storage/gguf_file.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/storage/gguf_cursor.h"
#include "tests/storage/gguf_builder.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace test;

constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

Bytes bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

GgufFile parse_gguf(const std::string& file) {
  return parse_gguf_file(bytes_of(file), "x.gguf");
}

GgufBuilder with_tensor(std::vector<std::uint64_t> dims, std::uint32_t type, std::string data) {
  GgufBuilder file;
  file.add({"t", std::move(dims), type, std::move(data), {}});
  return file;
}

TEST(GgufFile, ReadsKeysOfEveryType) {
  GgufBuilder builder;
  builder.set("a", gguf_value(GgufType::u8, raw<std::uint8_t>(255)))
      .set("b", gguf_value(GgufType::i8, raw<std::int8_t>(-1)))
      .set("c", gguf_value(GgufType::u16, raw<std::uint16_t>(65535)))
      .set("d", gguf_value(GgufType::i16, raw<std::int16_t>(-2)))
      .set("e", u32_value(7))
      .set("f", gguf_value(GgufType::i32, raw<std::int32_t>(-3)))
      .set("g", f32_value(0.25f))
      .set("h", bool_value(true))
      .set("i", string_value("na\xc3\xafve"))
      .set("j", numbers_value<std::int32_t>(GgufType::i32, {1, -1}))
      .set("k", strings_value({"x", ""}))
      .set("l", gguf_value(GgufType::u64, raw(kAllOnes)))
      .set("m", gguf_value(GgufType::i64, raw<std::int64_t>(-4)))
      .set("n", gguf_value(GgufType::f64, raw(0.1)));
  const std::string bytes = builder.build();
  const GgufFile file = parse_gguf(bytes);
  ASSERT_EQ(file.metadata.size(), 14u);
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("a")), 255u);
  EXPECT_EQ(std::get<std::int64_t>(file.metadata.at("b")), -1);
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("c")), 65535u);
  EXPECT_EQ(std::get<std::int64_t>(file.metadata.at("d")), -2);
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("e")), 7u);
  EXPECT_EQ(std::get<std::int64_t>(file.metadata.at("f")), -3);
  EXPECT_EQ(std::get<double>(file.metadata.at("g")), 0.25);
  EXPECT_TRUE(std::get<bool>(file.metadata.at("h")));
  EXPECT_EQ(std::get<std::string_view>(file.metadata.at("i")), "na\xc3\xafve");
  EXPECT_EQ(std::get<GgufNumbers>(file.metadata.at("j")).count, 2u);
  EXPECT_EQ(std::get<GgufStrings>(file.metadata.at("k")), (GgufStrings{"x", ""}));
  EXPECT_EQ(std::get<std::uint64_t>(file.metadata.at("l")), kAllOnes);
  EXPECT_EQ(std::get<std::int64_t>(file.metadata.at("m")), -4);
  EXPECT_EQ(std::get<double>(file.metadata.at("n")), 0.1);
}

TEST(GgufFile, ReadsTensorsWithTheirShapeReversed) {
  GgufBuilder builder;
  builder.add({"first", {32, 3}, 8, q8_0_blocks(3), {}}).add({"second", {5, 2, 3}, 0, f32_ramp(30), {}});
  const std::string bytes = builder.build();
  const GgufFile file = parse_gguf(bytes);
  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].shape, (Shape{3, 32}));
  EXPECT_EQ(file.tensors[0].format->name(), "q8_0");
  EXPECT_EQ(file.tensors[1].shape, (Shape{3, 2, 5}));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file.tensors[1].data.data()), 120), f32_ramp(30));
}

TEST(GgufFile, AcceptsEverySupportedTensorType) {
  const std::vector<std::pair<std::uint32_t, std::size_t>> types = {
      {0, 1024}, {1, 512},  {2, 144},  {3, 160},  {8, 272},  {10, 84}, {11, 110},
      {12, 144}, {13, 176}, {14, 210}, {20, 144}, {23, 136}, {30, 512}};
  for (const auto& [type, size] : types) {
    const std::string bytes = with_tensor({256}, type, std::string(size, '\0')).build();
    EXPECT_EQ(parse_gguf(bytes).tensors[0].data.size(), size) << type;
  }
}

TEST(GgufFile, RefusesOtherTensorTypesByNumberAndName) {
  for (const std::uint32_t type : {4u, 6u, 7u, 9u, 15u, 16u, 22u, 24u, 28u, 31u, 4294967295u}) {
    const std::string why = "tensor type is " + std::to_string(type);
    EXPECT_ERROR(parse_gguf(with_tensor({256}, type, std::string(1024, '\0')).build()),
                 "x.gguf: tensor t:", why.c_str());
  }
}

TEST(GgufFile, HonoursTheAlignment) {
  GgufBuilder builder;
  builder.alignment = 128;
  builder.set("general.alignment", u32_value(128));
  builder.add({"first", {1}, 0, f32_ramp(1, 1), {}}).add({"second", {1}, 0, f32_ramp(1, 2), {}});
  const std::string bytes = builder.build();
  const GgufFile file = parse_gguf(bytes);
  EXPECT_EQ(load<float>(file.tensors[0].data.data()), 1.0f);
  EXPECT_EQ(load<float>(file.tensors[1].data.data()), 2.0f);
  EXPECT_EQ((file.tensors[1].data.data() - bytes_of(bytes).data()) % 128, 0);

  for (const std::uint32_t bad : {0u, 3u, 48u}) {
    const std::string why = "general.alignment is " + std::to_string(bad) + ", a power of two";
    EXPECT_ERROR(parse_gguf(GgufBuilder().set("general.alignment", u32_value(bad)).build()), why.c_str());
  }
  EXPECT_ERROR(parse_gguf(GgufBuilder().set("general.alignment", string_value("32")).build()),
               "general.alignment is no");
  EXPECT_ERROR(
      parse_gguf(GgufBuilder().set("general.alignment", gguf_value(GgufType::u64, raw(1ull << 63))).build()),
      "general.alignment", "power of two");
}

TEST(GgufFile, RefusesMagicAndVersion) {
  GgufBuilder builder;
  builder.magic = "GGML";
  EXPECT_ERROR(parse_gguf(builder.build()), "x.gguf: does not begin with GGUF");
  for (const std::uint32_t version : {0u, 1u, 2u, 4u, 4294967295u}) {
    builder = {};
    builder.version = version;
    const std::string why = "version is " + std::to_string(version) + ", 3 expected";
    EXPECT_ERROR(parse_gguf(builder.build()), why.c_str());
  }
  builder.version = 0x03000000;
  EXPECT_ERROR(parse_gguf(builder.build()), "big-endian");
}

TEST(GgufFile, RefusesEveryTruncation) {
  const std::string whole = tiny_gguf().build();
  constexpr std::size_t kMetadata = 2500;  // every length of what is parsed, and some of the data
  for (std::size_t length = 0; length < whole.size(); length += length < kMetadata ? 1 : 97)
    EXPECT_ERROR(parse_gguf(whole.substr(0, length)), "x.gguf: ");
  EXPECT_ERROR(parse_gguf(whole.substr(0, 3)), "the magic", "truncated");
  EXPECT_ERROR(parse_gguf(whole.substr(0, 7)), "the version", "truncated");
  EXPECT_ERROR(parse_gguf(whole.substr(0, whole.size() - 1)), "tensor blk.0.ffn_down.weight", "truncated");
}

TEST(GgufFile, RefusesTrailingBytes) {
  const std::string whole = with_tensor({8}, 0, f32_ramp(8)).build();
  EXPECT_NO_THROW(parse_gguf(whole + std::string(31, '\0')));  // padding of the last tensor
  EXPECT_ERROR(parse_gguf(whole + std::string(32, '\0')), "32 bytes after the last tensor");
}

// Counts near 2^64 whose unchecked products are small: the file has room for what they wrap to.
TEST(GgufFile, RefusesCountsThatTheFileCannotHold) {
  for (const std::uint64_t count : {kAllOnes, kAllOnes / 33 + 1, kAllOnes / 14 + 1, kAllOnes / 8 + 1,
                                    kAllOnes / 4 + 1, std::uint64_t{1000}}) {
    const std::string found = std::to_string(count);
    GgufBuilder builder;
    builder.tensor_count = count;
    EXPECT_ERROR(parse_gguf(builder.build()), "the tensor count is", found.c_str());
    builder = {};
    builder.key_count = count;
    EXPECT_ERROR(parse_gguf(builder.build()), "the key count is", found.c_str());
  }
  for (const std::uint64_t count : {kAllOnes, kAllOnes / 8 + 1, kAllOnes / 4 + 1, std::uint64_t{3}}) {
    const std::string found = "k is " + std::to_string(count);
    EXPECT_ERROR(
        parse_gguf(
            GgufBuilder().set("k", array_value(GgufType::u64, count, raw(kAllOnes) + raw(kAllOnes))).build()),
        found.c_str(), "the rest of the file has room for 2");
    EXPECT_ERROR(
        parse_gguf(GgufBuilder().set("k", array_value(GgufType::string, count, gguf_string(""))).build()),
        found.c_str());
  }
  for (const std::uint64_t length : {kAllOnes, kAllOnes - 7, std::uint64_t{2}}) {
    const std::string why = "k needs " + std::to_string(length) + " bytes";
    EXPECT_ERROR(parse_gguf(GgufBuilder().set("k", gguf_value(GgufType::string, raw(length) + "a")).build()),
                 why.c_str(), "truncated");
  }
}

TEST(GgufFile, RefusesShapesThatWrap) {
  const std::uint64_t half = std::uint64_t{1} << 32;
  EXPECT_ERROR(parse_gguf(with_tensor({half, half}, 0, "").build()), "tensor t", "more than 2^64 elements");
  // 2^62 + 8 elements of four bytes wrap to the 32 bytes that are there.
  EXPECT_ERROR(parse_gguf(with_tensor({(std::uint64_t{1} << 62) + 8}, 0, f32_ramp(8)).build()), "tensor t",
               "2^64 bytes");
  // 2^63 + 16 elements of two bytes likewise.
  EXPECT_ERROR(parse_gguf(with_tensor({(std::uint64_t{1} << 63) + 16}, 1, f32_ramp(8)).build()), "tensor t",
               "2^64 bytes");
  EXPECT_ERROR(parse_gguf(with_tensor({std::uint64_t{1} << 60}, 8, f32_ramp(8)).build()), "tensor t",
               "truncated");
  EXPECT_ERROR(parse_gguf(with_tensor({std::uint64_t{1} << 61}, 0, f32_ramp(8)).build()), "tensor t",
               "truncated");
  EXPECT_ERROR(parse_gguf(with_tensor({kAllOnes - 31, 2}, 8, "").build()), "tensor t",
               "more than 2^64 elements");
}

TEST(GgufFile, RefusesImpossibleDimensions) {
  EXPECT_ERROR(parse_gguf(with_tensor({}, 0, std::string(64, '\0')).build()),
               "0 dimensions, 1 to 4 expected");
  EXPECT_ERROR(parse_gguf(with_tensor({1, 1, 1, 1, 1}, 0, f32_ramp(1)).build()), "5 dimensions");
  EXPECT_ERROR(parse_gguf(with_tensor({8, 0}, 0, f32_ramp(8)).build()), "a dimension of 0");
  EXPECT_ERROR(parse_gguf(with_tensor({33, 2}, 8, q8_0_blocks(3)).build()), "tensor t: rows of 33 weights",
               "multiple of 32");
}

TEST(GgufFile, RefusesBadOffsets) {
  GgufBuilder builder;
  builder.add({"first", {8}, 0, f32_ramp(8), {}}).add({"second", {8}, 0, f32_ramp(8), 4});
  EXPECT_ERROR(parse_gguf(builder.build()), "tensor second: offset 4 is no multiple of the alignment 32");
  builder.tensors[1].offset = 0;
  EXPECT_ERROR(parse_gguf(builder.build()), "tensor second: offset 0 overlaps");
  builder.tensors[1].offset = 64;
  EXPECT_ERROR(parse_gguf(builder.build()),
               "tensor second: 32 bytes at offset 64 of a data section of 64 bytes");
  builder.tensors[1].offset = kAllOnes - 31;  // offset + bytes wraps to 0
  EXPECT_ERROR(parse_gguf(builder.build()), "tensor second: 32 bytes at offset", "truncated");
  builder.tensors[0] = {"first", {16}, 0, f32_ramp(16), {}};  // 64 bytes
  builder.tensors[1].offset = 32;
  EXPECT_ERROR(parse_gguf(builder.build()), "tensor second: offset 32 overlaps", "ends at 64");
  builder = {};
  builder.add({"first", {8}, 0, f32_ramp(16), 32});
  EXPECT_ERROR(parse_gguf(builder.build()), "tensor first: offset 32 leaves a gap");
  // Any order of offsets is legal.
  builder = {};
  builder.add({"first", {8}, 0, f32_ramp(8), 32}).add({"second", {8}, 0, f32_ramp(8), 0});
  EXPECT_NO_THROW(parse_gguf(builder.build()));
}

TEST(GgufFile, RefusesDuplicates) {
  GgufBuilder builder;
  builder.keys = {{"k", u32_value(1)}, {"k", u32_value(1)}};
  EXPECT_ERROR(parse_gguf(builder.build()), "key k occurs twice");
  builder = {};
  builder.add({"t", {8}, 0, f32_ramp(8), {}}).add({"t", {8}, 0, f32_ramp(8), {}});
  EXPECT_ERROR(parse_gguf(builder.build()), "tensor t occurs twice");
}

TEST(GgufFile, RefusesBadValues) {
  EXPECT_ERROR(parse_gguf(GgufBuilder().set("k", raw<std::uint32_t>(13) + "abcdefgh").build()),
               "key k: value type is 13");
  EXPECT_ERROR(
      parse_gguf(GgufBuilder().set("k", array_value(static_cast<GgufType>(13), 1, "abcdefgh")).build()),
      "key k: array of value type 13");
  EXPECT_ERROR(parse_gguf(GgufBuilder().set("k", array_value(GgufType::array, 0, "")).build()),
               "array of arrays");
  EXPECT_ERROR(parse_gguf(GgufBuilder().set("k", gguf_value(GgufType::boolean, "\x02")).build()),
               "a bool is 2");
  EXPECT_ERROR(parse_gguf(GgufBuilder().set("k", string_value("\xff")).build()), "k is not valid UTF-8");
  EXPECT_ERROR(parse_gguf(GgufBuilder().set("\xc0\x80", u32_value(1)).build()), "a key is not valid UTF-8");
}

TEST(GgufFile, KnowsUtf8) {
  for (const char* good : {"", "a", "\xc3\xa9", "\xe2\x82\xac", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_utf8(good)) << to_hex(good);
  for (const char* bad : {"\x80", "\xc3", "\xc3(", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
                          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82"})
    EXPECT_FALSE(is_utf8(bad)) << to_hex(bad);
}

}  // namespace
}  // namespace assay
