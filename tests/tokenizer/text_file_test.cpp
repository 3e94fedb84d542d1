#include "assay/tokenizer/text_file.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "tests/support.h"

namespace assay {
namespace {

using namespace std::string_literals;

const std::string kEnglish = "The city of London is the capital of England, and 1 + 1 = 2.\n";

std::string repeat(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

/// Every byte followed by `behind` and led by `before`: ASCII in a wider encoding.
std::string widen(const std::string& text, const std::string& before, const std::string& behind) {
  std::string wide;
  for (const char c : text) wide += before + c + behind;
  return wide;
}

std::string noise(std::size_t bytes) {
  std::string data;
  std::uint64_t state = 1;
  while (data.size() < bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    data += static_cast<char>(state >> 56);
  }
  return data;
}

TEST(TextFile, NamesWhatIsNoText) {
  const std::string tail = noise(200);
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const std::string safetensors = static_cast<char>(header.size()) + "\0\0\0\0\0\0\0"s + header + "\0\0\0\0"s;
  const struct {
    std::string bytes;
    const char* name;
  } cases[] = {{"\x1F\x8B\x08"s + tail, "gzip"},
               {"PK\x03\x04"s + tail, "zip"},
               {"\xFD"s + "7zXZ\0"s + tail, "xz"},
               {"\x28\xB5\x2F\xFD"s + tail, "zstd"},
               {"BZh91AY&SY"s + tail, "bzip2"},
               {"%PDF-1.7\n1 0 obj\n"s, "PDF"},
               {"\x89PNG\r\n\x1A\n"s + tail, "PNG"},
               {"\x93NUMPY\x01\0"s + tail, "NumPy"},
               {"GGUF\x03\0\0\0"s + tail, "GGUF"},
               {safetensors, "safetensors"},
               {"\xFF\xFE"s + widen(kEnglish, "", "\0"s), "UTF-16"},
               {"\xFE\xFF"s + widen(kEnglish, "\0"s, ""), "UTF-16"},
               {widen(kEnglish, "", "\0"s), "UTF-16"},
               {widen(kEnglish, "\0"s, ""), "UTF-16"},
               {"\xFF\xFE\0\0"s + widen(kEnglish, "", "\0\0\0"s), "UTF-32"},
               {widen(kEnglish, "", "\0\0\0"s), "UTF-32"},
               {widen(kEnglish, "\0\0\0"s, ""), "UTF-32"},
               {noise(500), "binary"},
               {"\x0F\x27"s + noise(500), "binary"},
               {repeat("na\xEFve caf\xE9 ", 40), "another encoding"}};
  for (const auto& entry : cases)
    EXPECT_NE(describe_non_text(entry.bytes).find(entry.name), std::string::npos)
        << entry.name << " expected, found: " << describe_non_text(entry.bytes);
}

TEST(TextFile, TextStaysText) {
  for (const std::string& text :
       {kEnglish, "GGUF is a format, PK is a file's beginning.\n"s, "BZh is nothing.\n"s,
        "{\"text\": \"json\"}\n"s, repeat("\xE6\x96\x87\xE5\xAD\x97", 50),
        repeat("\xD1\x82\xD0\xB5\xD0\xBA\xD1\x81\xD1\x82 ", 50), "\x1B[1mbold\x1B[0m\ttab\r\n\f"s, "x"s,
        "\xE6\x96"s, repeat(kEnglish, 20) + "caf\xE9\n", repeat(kEnglish, 20) + "\0"s,
        repeat("\xF0\x9F\x98\x80", 30)})
    EXPECT_EQ(describe_non_text(text), "") << text;
}

class TextFileOnDisk : public testing::Test {
 protected:
  std::string write(const std::string& bytes) const {
    test::write_bytes(folder.file("text"), bytes);
    return folder.file("text");
  }
  test::TemporaryFolder folder;
};

TEST_F(TextFileOnDisk, RefusesWithTheNameAndTheWayOut) {
  const std::string path = write("\x1F\x8B\x08"s + noise(100));
  EXPECT_ERROR(read_text_file(path), path, "gzip data", "--any-text");
  const TextFile insisted = read_text_file(path, true);
  EXPECT_EQ(insisted.text.size(), 103u);
  ASSERT_EQ(insisted.notes.size(), 1u);
  EXPECT_NE(insisted.notes[0].find("--any-text"), std::string::npos);
}

TEST_F(TextFileOnDisk, ADroppedMarkIsSaid) {
  const std::string bytes = "\xEF\xBB\xBF" + kEnglish;
  const TextFile file = read_text_file(write(bytes));
  EXPECT_EQ(file.text, kEnglish);
  EXPECT_EQ(file.sha256, sha256_hex(std::as_bytes(std::span(bytes.data(), bytes.size())))) << "of the file";
  ASSERT_EQ(file.notes.size(), 1u);
  EXPECT_NE(file.notes[0].find("byte-order mark"), std::string::npos);
  EXPECT_ERROR(read_text_file(write("\xEF\xBB\xBF")), "empty");
  EXPECT_ERROR(read_text_file(write("")), "empty");
}

TEST_F(TextFileOnDisk, AFewDamagedBytesAreSaid) {
  const TextFile file = read_text_file(write(repeat(kEnglish, 20) + "caf\xE9\0"s));
  ASSERT_EQ(file.notes.size(), 2u);
  EXPECT_NE(file.notes[0].find("1 of "), std::string::npos);
  EXPECT_TRUE(read_text_file(write(kEnglish)).notes.empty());
}

}  // namespace
}  // namespace assay
