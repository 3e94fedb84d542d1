#include <gtest/gtest.h>

#include <random>

#include "assay/base/bit_stream.h"
#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/json.h"
#include "tests/support.h"

namespace assay {
namespace {

using test::TemporaryFolder;

TEST(Checked, RefusesWhatWraps) {
  EXPECT_EQ(checked_multiply(1u << 31, 2), std::uint64_t{1} << 32);
  EXPECT_FALSE(checked_multiply(std::uint64_t{1} << 63, 2));
  EXPECT_FALSE(checked_multiply((std::uint64_t{1} << 62) + 1, 4));
  EXPECT_FALSE(checked_add(~std::uint64_t{0}, 1));
  const std::uint64_t wrapping[] = {std::uint64_t{1} << 32, std::uint64_t{1} << 32};
  EXPECT_FALSE(checked_product(wrapping));
  const std::uint64_t zero[] = {std::uint64_t{1} << 63, 4, 0};
  EXPECT_EQ(checked_product(zero), 0u);
  EXPECT_EQ(ceil_divide(~std::uint64_t{0}, 32), std::uint64_t{1} << 59);
}

TEST(BitStream, RoundTripsEveryWidthAndLength) {
  std::mt19937 random(1);
  for (int bits = 1; bits <= 8; ++bits)
    for (std::size_t n = 0; n < 70; ++n) {
      std::vector<std::int32_t> codes(n), back(n, -1);
      for (auto& code : codes) code = static_cast<std::int32_t>(random() & ((1u << bits) - 1u));
      std::vector<std::byte> bytes((n * static_cast<std::size_t>(bits) + 7) / 8, std::byte{0xAA});
      pack_bits(codes, bits, bytes);
      unpack_bits(bytes, bits, back);
      ASSERT_EQ(codes, back) << bits << " bits, " << n << " codes";
      for (std::size_t i = 0; i < n; ++i)  // the definition, bit by bit
        for (int k = 0; k < bits; ++k) {
          const std::size_t stream = i * static_cast<std::size_t>(bits) + static_cast<std::size_t>(k);
          ASSERT_EQ((static_cast<int>(bytes[stream / 8]) >> (stream % 8)) & 1, (codes[i] >> k) & 1);
        }
    }
}

TEST(Json, RefusesDepthDuplicatesAndSize) {
  EXPECT_EQ(parse_json(R"({"a": [1, {"b": 2}]})", "f")["a"][1]["b"], 2);
  EXPECT_ERROR(parse_json(R"({"a": 1, "a": 2})", "f.json"), "f.json", "duplicate key \"a\"");
  EXPECT_NO_THROW(parse_json(R"({"x": {"a": 1}, "y": {"a": 2}})", "f"));
  EXPECT_ERROR(parse_json(std::string(100000, '['), "f.json"), "f.json", "deeper");
  EXPECT_ERROR(parse_json("{\"a\":" + std::string(1000, '{'), "f.json"), "f.json");
  EXPECT_ERROR(parse_json("[1,", "f.json"), "f.json", "not valid JSON");
  EXPECT_ERROR(parse_json("[1, 2, 3]", "f.json", {.bytes = 4}), "9 bytes, at most 4");
  EXPECT_ERROR(parse_json(std::string("[1]\0[2]", 7), "f.json"), "f.json", "zero byte at offset 3");
}

TEST(Json, TypedAccessNamesKeyAndValue) {
  const Json object =
      parse_json(R"({"n": 3, "neg": -1, "x": 1.5, "big": 4294967296, "s": "t", "b": true})", "f");
  EXPECT_EQ(json_get<int>(object, "n", "f"), 3);
  EXPECT_EQ(json_get<int>(object, "neg", "f"), -1);
  EXPECT_EQ(json_get<float>(object, "x", "f"), 1.5f);
  EXPECT_EQ(json_get_or<int>(object, "absent", 7, "f"), 7);
  EXPECT_ERROR(json_get<std::uint64_t>(object, "neg", "f"), "neg");
  EXPECT_ERROR(json_get<int>(object, "big", "f"), "big");
  const Json made = {{"n", 3}, {"neg", -1}, {"big", std::int64_t{1} << 40}};  // signed, unlike parsed ones
  EXPECT_EQ(json_get<std::uint64_t>(made, "n", "f"), 3u);
  EXPECT_ERROR(json_get<std::uint64_t>(made, "neg", "f"), "neg", "larger");
  EXPECT_ERROR(json_get<int>(made, "big", "f"), "big", "smaller");
  EXPECT_ERROR(json_get<int>(object, "x", "f"), "\"x\"", "1.5", "integer");
  EXPECT_ERROR(json_get<bool>(object, "s", "f"), "true or false");
  EXPECT_ERROR(json_get<int>(object, "absent", "config.json"), "config.json", "missing");
}

TEST(File, ReadsWithinALimit) {
  const TemporaryFolder folder;
  test::write_bytes(folder.file("a"), "hello");
  EXPECT_EQ(read_file(folder.file("a"), 5), "hello");
  EXPECT_ERROR(read_file(folder.file("a"), 4), "5 bytes, at most 4");
  EXPECT_ERROR(read_file(folder.file("none"), 4), "none", "cannot open");
  EXPECT_ERROR(read_file(folder.path().string(), 4), "not a regular file");
  EXPECT_EQ(MappedFile::open(folder.file("a"))->bytes().size(), 5u);
  test::write_bytes(folder.file("empty"), "");
  EXPECT_TRUE(MappedFile::open(folder.file("empty"))->bytes().empty());
  EXPECT_ERROR(MappedFile::open(folder.path().string()), "not a regular file");
}

TEST(File, Sha256) {
  const std::string text = "abc";
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(text))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(AtomicDirectory, AppearsWholeOrNotAtAll) {
  const TemporaryFolder folder;
  const std::string out = folder.file("out");
  {
    const AtomicDirectory directory(out);
    test::write_bytes((directory.staging() / "x").string(), "1");
    EXPECT_FALSE(std::filesystem::exists(out));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // not committed: nothing stays
  {
    AtomicDirectory directory(out + "/");
    test::write_bytes((directory.staging() / "x").string(), "1");
    directory.commit();
  }
  EXPECT_EQ(test::read_bytes(out + "/x"), "1");
  EXPECT_ERROR(AtomicDirectory again(out), "exists already");
}

TEST(AtomicDirectory, RemovesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  const auto stale = folder.path() / ".out.assay-tmp-4194305";  // beyond any pid
  const auto other = folder.path() / ".outer.assay-tmp-4194305";
  std::filesystem::create_directory(stale);
  std::filesystem::create_directory(other);
  const AtomicDirectory directory(folder.file("out"));
  EXPECT_FALSE(std::filesystem::exists(stale));
  EXPECT_TRUE(std::filesystem::exists(other));
}

TEST(File, AtomicReplacementKeepsTheOldContentOnFailure) {
  const TemporaryFolder folder;
  write_file_atomically(folder.file("f"), "one");
  write_file_atomically(folder.file("f"), "two");
  EXPECT_EQ(test::read_bytes(folder.file("f")), "two");
  EXPECT_ERROR(write_file_atomically(folder.file("no/f"), "x"), "cannot create");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace assay
