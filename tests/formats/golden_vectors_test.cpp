// Published bytes of every format that has them, most of them reproduced against the original
// implementations: docs/formats.md, "Weight formats".
#include "tests/formats/format_helpers.h"

namespace assay::test {
namespace {

struct Golden {
  const char* format;
  const char* what;
  std::vector<float> weights;
  std::vector<std::string> planes;
};

std::vector<float> ramp() {
  std::vector<float> values(32);
  for (std::size_t i = 0; i < 32; ++i) values[i] = static_cast<float>(i % 8);
  return values;
}

std::vector<float> filled(float value) {
  return std::vector<float>(32, value);
}

std::vector<float> scaled(std::vector<float> values, float factor) {
  for (float& value : values) value *= factor;
  return values;
}

std::vector<float> first_then(float first, float rest) {
  std::vector<float> values(32, rest);
  values[0] = first;
  return values;
}

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

std::vector<Golden> kh_vectors() {
  return {
      {"khq4", "seed 2", seeded(2, 32), {"6f4210ce52a81d63c92f85eb41a70d63c92e75da"}},
      {"khq4", "zeros", filled(0), {"003c0000" + repeated("00", 16)}},
      {"khq4", "constant", filled(2.5f), {"003c0041" + repeated("00", 16)}},
      {"khq4", "ramp", ramp(), {"773700002064b9fd2064b9fd2064b9fd2064b9fd"}},
      {"khq4", "tail", {5, 6, 7}, {"44300045700f0000000000000000000000000000"}},
      {"khq4", "tail whose pads are 15", {-5, -6, -7}, {"443000c77ff0ffffffffffffffffffffffffffff"}},
      {"khq4", "tail whose pads are 4", {-1, 3}, {"443400bcf0444444444444444444444444444444"}},
      {"khq4-sym", "seed 2", seeded(2, 32), {"ee42eece53b82d74ca3f96eb52a71d64c93e85db"}},
      {"khq4-sym", "zeros", filled(0), {"003c00c8" + repeated("88", 16)}},
      {"khq4-sym", "tail", {5, 6, 7}, {"003c00c8ed8f8888888888888888888888888888"}},
      {"khw3", "seed 2", seeded(2, 32), {"e54610ce116b68f423d6d16a64eca3d5"}},
      {"khw3", "ramp", ramp(), {"003c000088c6fa88c6fa88c6fa88c6fa"}},
      {"khw3", "zeros", filled(0), {"003c0000" + repeated("00", 12)}},
      {"khw3", "constant", filled(2.5f), {"003c0041" + repeated("00", 12)}},
      {"khw3", "tail", {5, 6, 7}, {"92340045d80100000000000000000000"}},
      {"khq3", "seed 2", seeded(2, 32), {"e54610ce49e2789279d2749e1ce718c7"}},
      {"khq3", "ramp", ramp(), {"003c0000e4e4e4e4e4e4e4e4f0f0f0f0"}},
      {"khq3", "tail", {5, 6, 7}, {"923400453c0000000000000004000000"}},
      {"khq3-sym", "seed 2", seeded(2, 32), {"ee46eece4de7b9e349e279d31ce71ce7"}},
  };
}

std::vector<Golden> mlx_vectors() {
  std::vector<Golden> vectors;
  struct Width {
    int bits;
    const char *codes, *f16_scale, *bf16_scale;
  };
  const Width widths[] = {
      {1, "1ce718c7", "0852", "4142"},
      {2, "e4937ef9e4933ef9", "104a", "4241"},
      {3, "117d68f533fa117b68f523f6", "1046", "c240"},
      {4, "52b81e74da2f96fc41a70d63c92f85eb", "1042", "4240"},
      {5, "4441cbc37154ffb2e2ed22bdba8161127fa2a0e5", "103e", "c23f"},
      {6, "0805b2f8f06ce7fc2b96f8ee45d4a936c06065dc1f13c8e2", "103a", "423f"},
      {8, "1e4f80b1e20b3b6c9dceff285889baeb144575a6d700316292c3f41d4e7fb0e0", "1032", "423e"},
  };
  static std::vector<std::string> names;  // Golden keeps pointers
  names.reserve(2 * std::size(widths));
  for (const Width& width : widths) {
    names.push_back("mlx" + std::to_string(width.bits) + "-g32-f16");
    vectors.push_back(
        {names.back().c_str(), "seed 2", seeded(2, 32), {width.codes, width.f16_scale, "10ce"}});
    names.push_back("mlx" + std::to_string(width.bits) + "-g32-bf16");
    vectors.push_back(
        {names.back().c_str(), "seed 2", seeded(2, 32), {width.codes, width.bf16_scale, "c2c1"}});
  }
  const char* four = "mlx4-g32-bf16";
  vectors.push_back({four, "zeros", filled(0), {repeated("00", 16), "d7b3", "0000"}});
  vectors.push_back({four, "tiny", first_then(3e-9f, -1e-9f), {repeated("00", 16), "d7b3", "0000"}});
  vectors.push_back({four, "ones", filled(1), {repeated("00", 16), "d7b3", "803f"}});
  vectors.push_back({four, "minus ones", filled(-1), {repeated("00", 16), "d7b3", "80bf"}});
  vectors.push_back({four, "tie of ends", first_then(-1, 1), {"0e" + repeated("00", 15), "12be", "803f"}});
  vectors.push_back({four, "positive", first_then(1, 2), {"0f" + repeated("00", 15), "89bd", "0040"}});
  vectors.push_back({four, "negative", first_then(-2, -1), {"f0" + repeated("ff", 15), "893d", "00c0"}});
  return vectors;
}

std::vector<Golden> block_affine_vectors() {
  return {
      {"block-affine2-g32-stream", "seed 2", seeded(2, 32), {"054c10cea4533ae994533ae5"}},
      // The blocks of khw3, khq3 and khq4.
      {"block-affine3-g32-stream", "seed 2", seeded(2, 32), {"e54610ce116b68f423d6d16a64eca3d5"}},
      {"block-affine3-g32-planes", "seed 2", seeded(2, 32), {"e54610ce49e2789279d2749e1ce718c7"}},
      {"block-affine4-g32-stream", "seed 2", seeded(2, 32), {"6f4210ce52a81d63c92f85eb41a70d63c92e75da"}},
      {"block-affine4-g32-stream", "zeros", filled(0), {"003c0000" + repeated("00", 16)}},
      {"block-affine2-g32-stream", "constant", filled(2.5f), {"003c0041" + repeated("00", 8)}},
      // Two groups of 0 to 7, four times over: two scales of 1.
      {"block-affine3-g16-stream", "ramp", ramp(), {repeated("003c000088c6fa88c6fa", 2)}},
      {"block-affine3-g16-planes", "ramp", ramp(), {repeated("003c0000e4e4e4e4f0f0", 2)}},
  };
}

std::vector<Golden> block_and_row_vectors() {
  const std::vector<float> seed2 = seeded(2, 32);
  const std::string int6 = "e8f4000c18e4effb07131febf6020e1ae6f2fd0915e1edf904101ce8f4000c17";
  const std::string int6_sdclip = "fdfe000203fcfeff010204fdff000203fdfe000103fcfdff010204fdfe000203";
  return {
      {"q4_0", "seed 2", seed2, {"1042124578abde0134679acdff225689bcef"}},
      {"q4_0", "zeros", filled(0.0f), {"0080" + repeated("88", 16)}},
      {"q4_0", "negative zeros", filled(-0.0f), {"0080" + repeated("88", 16)}},
      {"q4_1", "seed 2", seed2, {"6f4210ce124578aadd01336699ccef225578abde"}},
      {"q8_0", "seed 2", seed2, {"1c329fd00030618bbcec1d4d7ea8d9093a6a95c5f6265681b1e21243739eceff2f60"}},
      {"int8-row",
       "seed 2",
       seed2,
       {"9fd00030618bbcec1d4d7ea8d9093a6a95c5f6265681b1e21243739eceff2f60", "1c32"}},
      {"int6-row-i8", "seed 2", seed2, {int6, "423a"}},
      {"int8-row-sdclip",
       "seed 2",
       seed2,
       {"f8fc000408f6fafe02060bf9fd010509f7fbff0307f5f9fd02060af8fc000408", "8c40"}},
      {"int8-golf",
       "seed 2 / 64",
       scaled(seed2, 1.0f / 64),
       {"dbee001225d4e6f90b1d30dff1031628d7eafc0e21d0e2f507192cdbed001224", "0820"}},
      {"int6-row-sdclip-i8", "seed 2", seed2, {int6_sdclip, "fc45"}},
      {"int6-row-sdclip", "seed 2", seed2, {"9d078a23e77da148761f288e9d078623d77da148761e288e", "fc45"}},
      {"khf1", "seed 3", seeded(3, 4), {"a0cb00c68042404a"}},
      {"f16", "seed 3", seeded(3, 4), {"a0cb00c68042404a"}},
  };
}

void expect_golden(const std::vector<Golden>& vectors) {
  for (const Golden& golden : vectors) {
    SCOPED_TRACE(std::string(golden.format) + ", " + golden.what);
    const FormatPtr format = find_format(golden.format);
    ASSERT_NE(format, nullptr);
    const std::size_t n = golden.weights.size();
    const Encoded encoded = encode(*format, golden.weights, n);
    const PlaneBytes planes = pack(*format, encoded, n);
    ASSERT_EQ(planes.size(), golden.planes.size());
    for (std::size_t i = 0; i < planes.size(); ++i)
      EXPECT_EQ(hex(planes[i]), golden.planes[i]) << "plane " << i;
    EXPECT_EQ(unpack(*format, planes, n, n).codes, encoded.codes);
  }
}

TEST(GoldenVectors, KhBlocks) {
  expect_golden(kh_vectors());
}
TEST(GoldenVectors, MlxGroups) {
  expect_golden(mlx_vectors());
}
TEST(GoldenVectors, GenericAffineBlocks) {
  expect_golden(block_affine_vectors());
}
TEST(GoldenVectors, GgufBlocksRowsAndFloats) {
  expect_golden(block_and_row_vectors());
}

TEST(GoldenVectors, StreamOfThreeBitCodesCrossesBytes) {
  const FormatPtr khw3 = find_format("khw3");
  Encoded encoded{{{1.0f, 0.0f}}, std::vector<Code>(32, 0)};
  encoded.codes[2] = 7;
  EXPECT_EQ(hex(pack(*khw3, encoded, 32)[0]), "003c0000c001" + repeated("00", 10));
  encoded.codes.assign(32, 7);
  EXPECT_EQ(hex(pack(*khw3, encoded, 32)[0]), "003c0000" + repeated("ff", 12));
}

TEST(GoldenVectors, Khq4VersionOneIsReadAndNeverWritten) {
  const FormatPtr v1 = find_format("khq4-v1");
  const Encoded block = unpack(*v1, {bytes_of("ee4253b82d74ca3f96eb52a71d64c93e85db")}, 32, 32);
  const std::vector<float> decoded = decode(*v1, block, 32);
  const std::vector<float> source = seeded(2, 32);
  EXPECT_EQ(block.params[0].scale, 3.46484375f);
  EXPECT_EQ(block.codes[0], 3);
  EXPECT_EQ(decoded[0], -5 * 3.46484375f);
  for (std::size_t i = 0; i < 32; ++i) EXPECT_NEAR(decoded[i], source[i], 3.46484375f / 2 + 0.02f);
  std::string why;
  EXPECT_TRUE(v1->valid(block.params[0], block.codes, &why));
  EXPECT_FALSE(v1->valid({0.0f, 0.0f}, block.codes, &why));
  EXPECT_FALSE(v1->can_encode());
  Encoded out = room_for(*v1, 32, 32);
  EXPECT_ERROR(v1->reference(source, out.params, out.codes), "khq4-v1", "only be read");
}

struct FloatGolden {
  const char *format, *codes, *scales;
  std::vector<float> first;
};

TEST(GoldenVectors, MlxFloatGroupsDecode) {
  const FloatGolden vectors[] = {
      {"mxfp4", "ac20d49b41c50a53bd20d49c31c50a42", "82", {-16, -8, 0, 8, 16, -24}},
      {"mxfp8",
       "f9f1007179fbf5e76b777cf8ef5e737afaf3e06e78fcf7ec66757bf9f2c87179",
       "7b",
       {-18, -9, 0, 9, 18, -22}},
      {"nvfp4", "ce40f6ad63e71c75df49f6be52e70c64", "4848", {-16, -8, 0, 8, 16, -24}},
  };
  for (const FloatGolden& golden : vectors) {
    SCOPED_TRACE(golden.format);
    const FormatPtr format = find_format(golden.format);
    const Encoded group = unpack(*format, {bytes_of(golden.codes), bytes_of(golden.scales)}, 32, 32);
    const std::vector<float> decoded = decode(*format, group, 32);
    for (std::size_t i = 0; i < golden.first.size(); ++i) EXPECT_EQ(decoded[i], golden.first[i]);
    const std::vector<float> source = seeded(2, 32);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_NEAR(decoded[i], source[i], 4.01f);
  }
}

/// Planes of one unit in hex and the weights it begins with, of formats that are only read.
void expect_decoded(const char* name, const std::vector<const char*>& planes,
                    const std::vector<float>& first) {
  SCOPED_TRACE(name);
  const FormatPtr format = find_format(name);
  ASSERT_NE(format, nullptr);
  EXPECT_FALSE(format->can_encode());
  PlaneBytes bytes;
  for (const char* plane : planes) bytes.push_back(bytes_of(plane));
  const Encoded unit = unpack(*format, bytes, 32, 32);
  std::string why;
  EXPECT_TRUE(format->valid(unit.params[0], unit.codes, &why)) << why;
  const std::vector<float> decoded = decode(*format, unit, 32);
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(decoded[i], first[i]) << i;
}

TEST(GoldenVectors, GptqGroupsDecode) {
  const char* codes = "1032547698badcfe1032547698badcfe";  // 0 to 15, twice
  expect_decoded("gptq4-g32-f16", {codes, "0038", "06"},
                 {-3.5f, -3.0f, -2.5f, -2.0f, -1.5f, -1.0f, -0.5f, 0.0f});
  expect_decoded("gptq4-g32-f16", {codes, "0038", "0f"}, {0.0f, 0.5f, 1.0f});  // 16, of which 4 bits are left
  expect_decoded("gptq4-v2-g32-f16", {codes, "0038", "06"}, {-3.0f, -2.5f, -2.0f, -1.5f});
  // Three bits: 0 to 7, four times over.
  expect_decoded("gptq3-g32-bf16", {"88c6fa88c6fa88c6fa88c6fa", "803e", "03"},
                 {-1.0f, -0.75f, -0.5f, -0.25f, 0.0f});
}

TEST(GoldenVectors, CompressedTensorsGroupsDecode) {
  const char* codes = "1032547698badcfe1032547698badcfe";
  expect_decoded("ct4-g32-bf16", {codes, "803e"}, {-2.0f, -1.75f, -1.5f});
  expect_decoded("ct4-zp-g32-bf16", {codes, "803e", "01"}, {-0.25f, 0.0f, 0.25f});
  expect_decoded("ct2-row-f32", {"e4e4e4e4e4e4e4e4", "0000003f"}, {-1.0f, -0.5f, 0.0f, 0.5f, -1.0f});
}

TEST(GoldenVectors, Fp8BlocksDecode) {
  const char* codes = "f9f1007179fbf5e76b777cf8ef5e737afaf3e06e78fcf7ec66757bf9f2c87179";
  expect_decoded("fp8-b128-f32", {codes, "0000003f"}, {-144, -72, 0, 72, 144, -176});
  expect_decoded("fp8-b128-bf16", {codes, "003f"}, {-144, -72, 0, 72, 144, -176});
  std::string why;
  EXPECT_FALSE(find_format("fp8-b128-f32")->valid({1.0f, 0.0f}, std::vector<Code>{0x7F}, &why));
  EXPECT_FALSE(find_format("fp8-b128-f32")->valid({INFINITY, 0.0f}, std::vector<Code>{0}, &why));
}

}  // namespace
}  // namespace assay::test
