// llama.cpp's k-quants and non-linear types: every bit as PyPI's gguf package decodes it, and what is
// refused.
#include "assay/base/file.h"
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

constexpr std::size_t kBlocks = 64;

struct Golden {
  const char* format;
  std::vector<std::size_t> halves;  // where each block keeps its f16 numbers
  const char* sha256;               // of the decoded f32: superblock_golden.py
};

/// The bytes that superblock_golden.py makes up.
std::vector<std::byte> made_up_blocks(std::size_t size, const std::vector<std::size_t>& halves) {
  std::uint64_t state = 12345;
  std::vector<std::byte> bytes(kBlocks * size);
  for (std::byte& byte : bytes) {
    state = (state * 1103515245 + 12345) % (std::uint64_t{1} << 31);
    byte = static_cast<std::byte>(state >> 16 & 0xFF);
  }
  for (std::size_t block = 0; block < kBlocks; ++block)
    for (const std::size_t half : halves) bytes[block * size + half + 1] &= std::byte{0xBF};
  return bytes;
}

TEST(GgufSuperblocks, DecodeBitForBitAsTheGgufPackage) {
  const std::vector<Golden> golden = {
      {"q2_k", {80, 82}, "14d293e1e5d13ca97290dd9c2bc1c8460ce874adff4cb70023764fb2f9bf21f5"},
      {"q3_k", {108}, "d3ef3e5ff178a36eb4b0a4e9b72f3349bc0a43b0b794381c0e2c92ff8bafe3dd"},
      {"q4_k", {0, 2}, "7f02fd4e620bf75483a27363b7d172aae2272284d0515927685b8639dfe427da"},
      {"q5_k", {0, 2}, "f0e62b7960f25eb0446311024b63e2680552f978dc00214b18e9ea4af0f04c6d"},
      {"q6_k", {208}, "644869599f4fee5bb60e288015f5e4853bd39547897d96422b7a59ea2a81ed85"},
      {"iq4_nl", {0}, "222c65f565d710c7fb6bd172865a5be5debab40268072a44f695c65560e20ff2"},
      {"iq4_xs", {0}, "4f9e8f6e465154684fa188504c883aa3d0bf28bc9ffa58c60112be419a4c5db9"}};
  for (const Golden& entry : golden) {
    const FormatPtr format = find_format(entry.format);
    ASSERT_NE(format, nullptr) << entry.format;
    EXPECT_FALSE(format->can_encode());
    const Layout layout = format->layout(256);
    const auto bytes = made_up_blocks(layout.planes[0].bytes_per_unit, entry.halves);
    const std::size_t weights = kBlocks * layout.run;
    const Encoded blocks = unpack(*format, {bytes}, weights, weights);
    std::string why;
    for (std::size_t unit = 0; unit < kBlocks; ++unit)
      EXPECT_TRUE(format->valid(blocks.params[unit],
                                std::span(blocks.codes).subspan(unit * layout.run, layout.run), &why))
          << entry.format << ": " << why;
    const std::vector<float> decoded = decode(*format, blocks, weights);
    EXPECT_EQ(sha256_hex(std::as_bytes(std::span(decoded))), entry.sha256) << entry.format;
    for (std::size_t i = 0; i < weights; ++i) {
      const auto [low, high] = format->range(blocks.params[i / layout.run]);
      ASSERT_TRUE(low <= decoded[i] && decoded[i] <= high) << entry.format << " " << i;
    }
  }
}

TEST(GgufSuperblocks, RefuseScalesThatAreNoNumbersAndForeignCodes) {
  const FormatPtr format = find_format("q4_k");
  std::vector<std::byte> bytes(144);
  std::string why;
  for (const std::size_t half : {0u, 2u}) {
    bytes.assign(144, std::byte{0});
    bytes[half + 1] = std::byte{0x7C};  // infinity
    const Encoded block = unpack(*format, {bytes}, 256, 256);
    EXPECT_FALSE(format->valid(block.params[0], block.codes, &why));
    EXPECT_NE(why.find("inf"), std::string::npos) << why;
  }
  const std::vector<Code> codes(256, 0x40 << 8);  // a sub-scale of 64: six bits hold 63
  EXPECT_FALSE(format->valid({1.0f, 0.0f}, codes, &why));
  EXPECT_NE(why.find("element 0"), std::string::npos) << why;
}

}  // namespace
}  // namespace assay::test
