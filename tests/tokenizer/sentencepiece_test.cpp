// sentencepiece models against PyPI's sentencepiece (tests/reference/sentencepiece_vectors.py), and broken
// ones.
#include <gmock/gmock.h>

#include <cstring>
#include <ctime>
#include <functional>

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/base/utf8.h"
#include "assay/tokenizer/character_map.h"
#include "assay/tokenizer/sentencepiece_guard.h"
#include "tests/support.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace assay {
namespace {

using test::Ids;

std::string model_file(const std::string& name) {
  return test::read_bytes(test::project("tests/data/sentencepiece_" + name + ".model"));
}

TokenizerPtr load(const std::string& model, const Json& config = Json::object()) {
  return load_tokenizer({{"tokenizer.model", model}, {"tokenizer_config.json", config.dump()}}, "model");
}

/// One protobuf field: tag, length, bytes; or tag and a small number.
std::string bytes_field(int number, const std::string& bytes) {
  std::string field{static_cast<char>(number << 3 | 2)};
  std::size_t length = bytes.size();
  for (; length >= 128; length >>= 7) field += static_cast<char>(0x80 | (length & 127));
  return field + static_cast<char>(length) + bytes;
}
std::string number_field(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}
std::string piece(const std::string& text, float score, PieceType type) {
  std::string number(4, '\0');
  std::memcpy(number.data(), &score, 4);
  return bytes_field(1, bytes_field(1, text) + "\x15" + number + number_field(3, static_cast<int>(type)));
}
std::string unknown_piece() {
  return piece("<unk>", 0, PieceType::unknown);
}

TEST(SentencePiece, AgreesWithItsOwnPackage) {
  const Json data = read_json_file(test::project("tests/data/sentencepiece_vectors.json"));
  for (const auto& [name, vectors] : data.items()) {
    const TokenizerPtr tokenizer = load(model_file(name));
    for (const Json& vector : vectors) {
      SCOPED_TRACE(name + " " + vector["text"].dump());
      EXPECT_EQ(tokenizer->encode(vector["text"].get<std::string>()), vector["ids"].get<Ids>());
    }
  }
}

TEST(SentencePiece, WikiText) {
  ASSAY_NEEDS_SHARED("text/sp1024.model");
  const TokenizerPtr tokenizer = load(test::read_bytes(test::shared("text/sp1024.model")));
  const std::string text = test::read_bytes(test::shared("text/wiki.test.raw"));
  const Ids ids = tokenizer->encode(std::string_view(text).substr(0, 300000));
  EXPECT_EQ(ids.size(), 124005U);
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(ids))),
            "7922204727562edf9ff7b924585b3636b4ad639849a7c7ea649895d950f96eda");  // of PyPI's ids, as
                                                                                  // little-endian int32
}

TEST(SentencePiece, DecodesPiecesBytesAndControlTokens) {
  const TokenizerPtr tokenizer = load(model_file("bpe"));
  for (const std::string text : {"the cat", "caf\u00e9 \u65e5\u672c", "two", "x"})
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  const Ids ids = {*tokenizer->find("<s>"), *tokenizer->find("\u2581the"), *tokenizer->find("</s>")};
  EXPECT_EQ(tokenizer->decode(ids), "<s> the</s>");
  EXPECT_EQ(tokenizer->decode(ids, true), "the");
  EXPECT_TRUE(tokenizer->is_special(ids[0]));
  EXPECT_FALSE(tokenizer->is_special(ids[1]));
  EXPECT_ERROR(tokenizer->decode(Ids{100000}), "100000");
}

TEST(SentencePiece, InvalidUtf8BecomesByteTokens) {
  const TokenizerPtr tokenizer = load(model_file("bpe"));
  const Ids ids = tokenizer->encode(
      "the\xFF"
      "the");
  EXPECT_EQ(ids[1], *tokenizer->find("<0xFF>"));
  EXPECT_EQ(tokenizer->decode(ids),
            "the\xFF"
            "the");
  EXPECT_ERROR(load(model_file("unigram"))->encode("a\xFF"), "0xFF");
}

TEST(SentencePiece, SpecialTokensInTextAreFound) {
  const std::string model = model_file("bpe");
  const TokenizerPtr plain = load(model);
  const TokenId bos = *plain->find("<s>"), eos = *plain->find("</s>"), the = *plain->find("\u2581the");
  EXPECT_EQ(plain->encode("<s>the</s>the"), (Ids{bos, the, eos, the}));
  EXPECT_EQ(plain->bos, bos);
  EXPECT_FALSE(plain->adds_bos);
  EXPECT_EQ(plain->eos_text, "</s>");
  // Without legacy behaviour, text behind a token does not begin with a space of its own.
  const TokenizerPtr modern = load(model, {{"legacy", false}, {"tokenizer_class", "LlamaTokenizer"}});
  EXPECT_EQ(modern->encode("the"), Ids{the});
  EXPECT_EQ(modern->decode(modern->encode("<s>the")), "<s>the");
  EXPECT_TRUE(modern->adds_bos);
  // A configuration that names no such token is taken at its word.
  EXPECT_EQ(load(model, {{"bos_token", nullptr}})->bos, std::nullopt);
  // Tokens beyond the model's own.
  const int next = static_cast<int>(plain->vocabulary_size());
  const Json added = {
      {"added_tokens_decoder", {{std::to_string(next + 1), {{"content", "[X]"}, {"special", true}}}}}};
  EXPECT_EQ(load(model, added)->encode("[X]the"), (Ids{next + 1, the}));
  EXPECT_EQ(load(model, added)->vocabulary_size(), static_cast<std::size_t>(next + 2));
  EXPECT_ERROR(load(model, added)->decode(Ids{next}), "is not in the vocabulary");  // a hole
}

TEST(SentencePiece, AddedTokensThatContradictTheModelAreRefused) {
  const auto refuse = [](const char* id, const char* content, const char* named) {
    EXPECT_ERROR(load(model_file("bpe"), {{"added_tokens_decoder", {{id, {{"content", content}}}}}}), "model",
                 named);
  };
  refuse("7", "<s>", "\"<s>\"");
  refuse("7", "[X]", "another piece");
  refuse("1000000", "[X]", "far beyond");
}

TEST(SentencePiece, BrokenModelsAreRefused) {
  const std::string good = unknown_piece() + piece("a", 0, PieceType::normal);
  EXPECT_EQ(load(good)->vocabulary_size(), 2U);
  const auto refuse = [](const std::string& model, const char* named) {
    EXPECT_ERROR(load(model), "model/tokenizer.model", named);
  };
  refuse("", "unknown");
  refuse(piece("a", 0, PieceType::normal), "0 pieces of type unknown");
  refuse(unknown_piece() + piece("<u2>", 0, PieceType::unknown), "2 pieces of type unknown");
  refuse(good + piece("a", 0, PieceType::normal), "occurs twice");
  refuse(good + piece("", 0, PieceType::normal), "0 bytes");
  refuse(good + piece(std::string(5000, 'x'), 0, PieceType::normal), "5000 bytes");
  refuse(good + piece("\xFF", 0, PieceType::normal), "not UTF-8");
  refuse(good + piece(std::string("a\0b", 3), 0, PieceType::normal), "zero byte");
  refuse(good + piece("b", std::nanf(""), PieceType::normal), "score");
  refuse(good + piece("b", 0, static_cast<PieceType>(7)), "type is 7");
  refuse(good + piece("b", 0, PieceType::byte), "model");
  refuse(good + bytes_field(2, number_field(3, 3)), "type 3");  // word
  refuse(good + bytes_field(2, number_field(24, 1).insert(1, "\x01")), "whitespace_as_suffix");
  refuse(good + bytes_field(3, number_field(5, 0)), "escape");
  refuse(good + number_field(1, 1), "wire type");
  refuse(good + "\x0B", "wire type");
  refuse(good + '\0', "field number");
  refuse(good + "\x0A\x05", "truncated");
  refuse(good + "\x0A", "truncated");
  refuse(good + "\x08" + std::string(11, '\xFF'), "10 bytes");
  for (std::size_t cut = 1; cut < good.size(); ++cut) EXPECT_THROW(load(good.substr(0, cut)), Error) << cut;
}

/// A character map whose units are zero but for those given.
std::string character_map(const std::vector<std::pair<std::size_t, std::uint32_t>>& units,
                          const std::string& replacements = std::string("x\0", 2),
                          std::size_t units_in_table = 512) {
  std::vector<std::uint32_t> table(units_in_table, 0);
  for (const auto& [at, unit] : units) table[at] = unit;
  const auto size = static_cast<std::uint32_t>(table.size() * sizeof(std::uint32_t));
  std::string bytes(sizeof size + size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  std::memcpy(bytes.data() + sizeof size, table.data(), size);
  return bytes + replacements;
}

TEST(SentencePiece, ACharacterMapCannotLeadOutsideItself) {
  const auto check = [](const std::string& map) { check_character_map(map, "model"); };
  // The root's children are the units 1 to 255; that of 'a' ends a key, and its value is unit 256.
  const std::uint32_t key_a = 'a' | 1u << 8 | (256u ^ 'a') << 10;
  check(character_map({{'a', key_a}, {256, 0x80000000u}}));
  EXPECT_ERROR(check("abc"), "too short");
  EXPECT_ERROR(check(std::string("\x10\0\0\0x", 5)), "impossible size");
  EXPECT_ERROR(check(std::string("\x03\0\0\0xxxx", 8)), "impossible size");
  EXPECT_ERROR(check(character_map({}, "x")), "does not end");
  EXPECT_ERROR(check(character_map({}, std::string("\xFF\0", 2))), "not UTF-8");
  EXPECT_ERROR(check(character_map({{0, 512u << 10}})), "outside its table");
  EXPECT_ERROR(check(character_map({}, std::string("x\0", 2), 255)),
               "outside its table");  // byte 255 has no unit
  EXPECT_ERROR(check(character_map({{'a', key_a}, {256, 0x80000002u}})), "outside its replacements");
  EXPECT_ERROR(check(character_map({{'a', key_a}, {256, 0x80000001u}})),
               "outside its replacements");  // inside one
  EXPECT_ERROR(check(character_map({{'a', 'a' | std::uint32_t{'a'} << 10}})),
               "without end");  // its own child
  // 'a', 'aa', 'aaa', ...: 40 units in a row, each a key and the only child of the one before.
  std::string chain;
  std::vector<std::uint32_t> table(256 * 42, 0);
  std::size_t node = 'a';
  for (std::size_t depth = 1; depth <= 40; ++depth) {
    const std::size_t base = 256 * depth;
    table[node] = 'a' | 1u << 8 | static_cast<std::uint32_t>(base ^ node) << 10;
    table[base] = 0x80000000u;
    node = base ^ 'a';
  }
  const auto size = static_cast<std::uint32_t>(table.size() * 4);
  chain.append(reinterpret_cast<const char*>(&size), 4)
      .append(reinterpret_cast<const char*>(table.data()), size);
  EXPECT_ERROR(check(chain + std::string("x\0", 2)), "begin alike");
}

TEST(SentencePiece, NoCharacterMapMakesATextGrowMoreThanSixteenfold) {
  const std::uint32_t key_a = 'a' | 1u << 8 | (256u ^ 'a') << 10;
  const auto check = [&](std::size_t length) {
    check_character_map(character_map({{'a', key_a}, {256, 0x80000000u}}, std::string(length, 'x') + '\0'),
                        "model");
  };
  check(16);
  EXPECT_ERROR(check(17), "model: the normalizer's character map makes a text grow more than sixteenfold");
  // 'a' and 'aa' lead to the same node: the shorter key counts, whichever way is found first.
  const std::uint32_t inner_a = 'a' | (256u ^ 'a') << 10;
  const std::size_t below = 256 ^ 'a';
  const auto shared = character_map({{'a', inner_a}, {below, 'a' | 1u << 8 | (512u ^ below) << 10}, {512, 0}},
                                    std::string(32, 'x') + '\0', 1024);
  check_character_map(shared, "model");  // 'aa', 2 bytes, may become 32
}

/// A unigram model of 'a', 'aa' and so on, where every 'a' of a text becomes `growth` of them.
std::string long_pieces(std::size_t longest, std::size_t growth, PieceType type = PieceType::normal) {
  std::string model = unknown_piece();
  for (std::size_t length = 1; length <= longest; ++length)
    model += piece(std::string(length, 'a'), -static_cast<float>(length), type);
  const std::uint32_t key_a = 'a' | 1u << 8 | (256u ^ 'a') << 10;
  const std::string map = character_map({{'a', key_a}, {256, 0x80000000u}}, std::string(growth, 'a') + '\0');
  return model + bytes_field(2, number_field(3, 1)) +
         bytes_field(3, bytes_field(2, map) + number_field(3, 0));  // no space in front
}

TEST(SentencePiece, ATextThatTakesTooLongIsAnError) {
  const TokenizerPtr hostile = load(long_pieces(512, 16));
  EXPECT_GT(hostile->encode(std::string(2000, 'a')).size(), 0u);
  const auto start = std::clock();
  EXPECT_ERROR(hostile->encode(std::string(200'000, 'a')), "model", "does not come to an end");
  // 2.8 seconds of the budget, and those of one slice; all of it would take a quarter of a minute.
  EXPECT_LT(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC, 9);
}

/// Looking at the clock changes nothing.
TEST(SentencePiece, LongTextsOfCostlyModelsAreEncodedWhole) {
  const TokenizerPtr costly = load(long_pieces(120, 4));
  const std::string text(40000, 'a');  // 3 slices and a bit
  const Ids ids = costly->encode(text);
  EXPECT_EQ(ids.size(), ceil_divide(std::size_t{4 * 40000}, std::size_t{120}));
}

TEST(SentencePiece, PiecesThatBeginOneAnotherAreCounted) {
  EXPECT_GT(load(long_pieces(64, 1, PieceType::user_defined))->encode(std::string(500, 'a')).size(), 0u);
  EXPECT_ERROR(load(long_pieces(65, 1, PieceType::user_defined)), "model",
               "65 user-defined pieces that begin one another");
}

/// Whether each byte of a model says what follows: tags and lengths, those of the pieces' fields included.
std::vector<bool> structure_of(const std::string& model) {
  std::vector<bool> structure(model.size());
  const std::function<void(std::size_t, std::size_t, bool)> walk = [&](std::size_t at, std::size_t end,
                                                                       bool outer) {
    while (at < end) {
      const int tag = static_cast<unsigned char>(model[at]);
      structure[at++] = true;
      if ((tag & 7) == 5) at += 4;
      if ((tag & 7) == 0)
        while (static_cast<unsigned char>(model[at++]) >= 128) {
        }
      if ((tag & 7) != 2) continue;
      std::size_t length = 0;
      for (int shift = 0;; shift += 7) {
        structure[at] = true;
        length |= std::size_t{model[at] & 0x7Fu} << shift;
        if (static_cast<unsigned char>(model[at++]) < 128) break;
      }
      if (outer && tag >> 3 == 1) walk(at, at + length, false);
      at += length;
    }
  };
  walk(0, model.size(), true);
  return structure;
}

TEST(SentencePiece, ABitFlipIsRefusedOrLeavesASoundTokenizer) {
  const std::string model = model_file("unigram");
  const std::string text = "The cat sat <sep> caf\u00e9 \uff21 12 \u65e5";
  const Ids sound = load(model)->encode(text);
  const std::vector<bool> structure = structure_of(model);
  int flips = 0, refused = 0, changed = 0;
  for (std::size_t at = 0; at < model.size(); ++at) {
    if (!structure[at] && at % 3 != 0) continue;
    SCOPED_TRACE(at);
    std::string broken = model;
    broken[at] = static_cast<char>(broken[at] ^ (1 << (at % 8)));
    flips += structure[at] ? 1 : 0;
    try {
      const TokenizerPtr tokenizer = load(broken);
      const Ids ids = tokenizer->encode(text);
      changed += ids == sound ? 0 : 1;
      EXPECT_EQ(tokenizer->encode(text), ids);
      ASSERT_FALSE(ids.empty());
      for (const TokenId id : ids) {
        ASSERT_GE(id, 0);
        ASSERT_LT(static_cast<std::size_t>(id), tokenizer->vocabulary_size());
      }
      const std::string decoded = tokenizer->decode(ids);
      EXPECT_EQ(valid_utf8_prefix(decoded), decoded.size());
    } catch (const Error& problem) {
      EXPECT_THAT(problem.what(), testing::StartsWith("model"));
      refused += structure[at] ? 1 : 0;
    }
  }
  EXPECT_GT(flips, 300);
  EXPECT_GT(changed, 0);
  EXPECT_GT(refused, flips * 9 / 10) << "of " << flips << " flips of tags and lengths";
}

}  // namespace
}  // namespace assay
