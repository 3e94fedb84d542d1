// Windows of calibration text: what they depend on and what they do not, what is refused, and the guard that
// keeps them apart from the text that is measured.
#include "assay/calibration/calibration_text.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <set>

#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/model/roles.h"
#include "tests/quantize/generated_model.h"
#include "tests/support.h"

namespace assay::test {
namespace {

using Tokens = std::vector<TokenId>;

const LoadedModel& demo() {
  static const LoadedModel model = load_model(demo_model());
  return model;
}

/// A model of one small layer under the same tokenizer: text is sampled from it in no time.
LoadedModel small_model(const std::string& path) {
  Json config = llama_config(32, 64, 8192);
  config["eos_token_id"] = 8189;
  config["max_position_embeddings"] = 1024;
  write_model(path, config, llama_tensors(32, 64, 8192));
  const CheckpointPtr checkpoint = open_model(path);
  return {checkpoint, Model::load(checkpoint), demo().tokenizer};
}

struct CalibrationTextTest : testing::Test {
  TemporaryFolder folder;
  std::string path = folder.file("train.txt");
  std::string text = made_up_text(1, 300);

  void SetUp() override { write_bytes(path, text); }
  CalibrationText load(std::size_t tokens, std::size_t window = 64, std::uint64_t seed = 1) const {
    return load_calibration_text(demo(), {path, tokens, window, seed});
  }
};

TEST_F(CalibrationTextTest, WindowsAreRunsOfTheFileFromTheStartsOfLines) {
  const CalibrationText calibration = load(1000, 50);
  ASSERT_EQ(calibration.windows.size(), 20u);
  EXPECT_EQ(calibration.tokens(), 1000u);
  std::set<std::size_t> starts;
  for (const Tokens& window : calibration.windows) {
    EXPECT_EQ(window.size(), 50u);
    const std::size_t at = text.find(demo().tokenizer->decode(window));
    ASSERT_NE(at, std::string::npos);
    EXPECT_TRUE(at == 0 || text[at - 1] == '\n') << at;
    starts.insert(at);
  }
  EXPECT_GT(starts.size(), 15u);  // all over the text
}

TEST_F(CalibrationTextTest, TokensAreRoundedUpToWholeWindows) {
  EXPECT_EQ(load(1).tokens(), 64u);
  EXPECT_EQ(load(65).tokens(), 128u);
  EXPECT_EQ(load(128).tokens(), 128u);
}

TEST_F(CalibrationTextTest, WindowsDependOnTheSeedAlone) {
  EXPECT_EQ(load(640).windows, load(640).windows);
  EXPECT_NE(load(640).windows, load(640, 64, 2).windows);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_NE(load(640).windows[i], load(640, 64, 2).windows[i]) << i;
}

TEST_F(CalibrationTextTest, MoreTokensContinueFewer) {
  const auto few = load(320).windows, many = load(1280).windows;
  ASSERT_EQ(many.size(), 20u);
  EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin()));
}

TEST_F(CalibrationTextTest, TextIsKnownByItsHash) {
  const std::string hash = sha256_hex(std::as_bytes(std::span<const char>(text)));
  const CalibrationText calibration = load(640);
  EXPECT_EQ(calibration.text_sha256, hash);
  const OrderedJson json = calibration.to_json();
  EXPECT_EQ(json["text"], path);
  EXPECT_EQ(json["text_sha256"], hash);
  EXPECT_EQ(json["tokens"], 640);
  EXPECT_EQ(json["window"], 64);
  EXPECT_EQ(json["seed"], 1);
  const TextRecord record = calibration.record("routing");
  EXPECT_EQ(record.purpose, "routing");
  EXPECT_EQ(record.path, path);
  EXPECT_EQ(record.sha256, hash);
  EXPECT_EQ(record.tokens, 640u);
  EXPECT_EQ(record.tokenizer, tokenizer_identity(*demo().tokenizer));
  for (const Tokens& window : calibration.windows) EXPECT_GT(record.fingerprint.count_shared(window), 0u);
}

TEST_F(CalibrationTextTest, OtherScriptsAreCutBetweenCharacters) {
  std::string greek;
  for (int line = 0; line < 200; ++line)
    greek += "αβγ δεζη " + std::to_string(line * 7919) + " θικλ 漢字かな 🙂\n";
  write_bytes(path, greek);
  for (const Tokens& window : load(2000, 100).windows)
    EXPECT_NE(greek.find(demo().tokenizer->decode(window).substr(0, 60)), std::string::npos);
}

TEST_F(CalibrationTextTest, NothingIsReadForNoTokens) {
  path = folder.file("absent.txt");
  const CalibrationText calibration = load(0);
  EXPECT_TRUE(calibration.windows.empty());
  EXPECT_EQ(calibration.tokens(), 0u);
}

TEST_F(CalibrationTextTest, MissingEmptyAndShortFilesAreErrorsThatNameThem) {
  write_bytes(path, "");
  EXPECT_ERROR(load(64), path, "empty");
  write_bytes(path, "Hello there,\nthis is far too short.\n");
  EXPECT_ERROR(load(64), path, "64 tokens", "longer");
  path = folder.file("absent.txt");
  EXPECT_ERROR(load(64), path);
}

TEST_F(CalibrationTextTest, TextOfOneLongLineHasWindowsToo) {
  std::ranges::replace(text, '\n', ' ');
  write_bytes(path, text);
  EXPECT_EQ(load(640).windows.size(), 10u);
  std::string kana;
  for (int i = 0; i < 500; ++i) kana += i % 7 == 0 ? "漢字" : "かな";
  write_bytes(path, kana);
  for (const Tokens& window : load(640).windows)
    EXPECT_NE(demo().tokenizer->decode(window).front() & 0xc0, 0x80) << "starts inside a character";
}

/// Text is tokenised a piece at a time: what the end of a piece makes of a word must not be kept.
TEST_F(CalibrationTextTest, TheLastTokenIsNotThatOfACutWord) {
  const Tokenizer& tokenizer = *demo().tokenizer;
  const auto is_token = [&](const std::string& word) { return tokenizer.encode(word).size() == 1; };
  // Two tokens are looked for in 16 bytes first: a word of 8, and one of more whose first 8 are a word too.
  std::string line;
  for (TokenId id = 0; id < 8000 && line.empty(); ++id) {
    const std::string word = tokenizer.decode(Tokens{id});
    if (word.size() > 8 && word[0] == ' ' && is_token(word) && is_token(word.substr(0, 8)))
      line = word.substr(0, 8) + word;
  }
  ASSERT_FALSE(line.empty());
  text.clear();
  for (int i = 0; i < 50; ++i) text += line + "\n";
  write_bytes(path, text);
  const Tokens expected = tokenizer.encode(line);
  ASSERT_EQ(expected.size(), 2u);
  for (const Tokens& window : load(20, 2).windows) EXPECT_EQ(window, expected) << line;
}

TEST_F(CalibrationTextTest, WindowsMustFitTheModel) {
  EXPECT_ERROR(load(64, 1), "windows of 1 tokens", "2 to 1024");
  EXPECT_ERROR(load(64, 1025), "windows of 1025 tokens", "2 to 1024");
  EXPECT_EQ(load(1024, 1024).tokens(), 1024u);
  EXPECT_EQ(load(2, 2).tokens(), 2u);
}

/// Another tokenizer's ids under a beginning-of-text rule of its own.
class WithBos final : public Tokenizer {
 public:
  WithBos(TokenizerPtr inner, std::optional<TokenId> beginning, bool added) : inner_(std::move(inner)) {
    bos = beginning;
    adds_bos = added;
  }
  Tokens encode(std::string_view text) const override { return inner_->encode(text); }
  std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    return inner_->decode(ids, skip_special);
  }
  std::size_t vocabulary_size() const override { return inner_->vocabulary_size(); }
  bool is_special(TokenId id) const override { return inner_->is_special(id); }
  std::optional<TokenId> find(std::string_view token) const override { return inner_->find(token); }

 private:
  TokenizerPtr inner_;
};

TEST_F(CalibrationTextTest, WindowsBeginWithTheTokenThatTheModelDemands) {
  constexpr TokenId kBos = 8190;
  LoadedModel model = small_model(folder.file("model"));
  model.tokenizer = std::make_shared<WithBos>(demo().tokenizer, kBos, true);
  for (const std::string& source : {path, std::string("self")}) {
    const CalibrationText calibration = load_calibration_text(model, {source, 128, 64, 1});
    EXPECT_EQ(calibration.tokens(), 128u) << source;
    for (const Tokens& window : calibration.windows) {
      EXPECT_EQ(window.size(), 64u) << source;
      EXPECT_EQ(window.front(), kBos) << source;
      EXPECT_EQ(std::ranges::count(window, kBos), 1) << source;
      EXPECT_TRUE(std::ranges::equal(calibration.text_in(window), std::span(window).subspan(1))) << source;
    }
    // What is kept of them are runs of the text, in whose midst no such token stands.
    TextFingerprint without;
    for (const Tokens& window : calibration.windows) without.add(std::span(window).subspan(1));
    EXPECT_EQ(calibration.record("calibration").fingerprint, without) << source;
  }
  for (const auto& [bos, added] : {std::pair{std::optional(kBos), false}, {std::nullopt, true}}) {
    model.tokenizer = std::make_shared<WithBos>(demo().tokenizer, bos, added);
    EXPECT_EQ(load_calibration_text(model, {path, 128, 64, 1}).windows, load(128).windows);
  }
}

// ---- Text sampled from the model.

TEST_F(CalibrationTextTest, SampledTextDependsOnTheSeedAlone) {
  const LoadedModel model = small_model(folder.file("model"));
  const auto sampled = [&](std::size_t tokens, std::uint64_t seed) {
    return load_calibration_text(model, {"self", tokens, 64, seed});
  };
  const CalibrationText one = sampled(512, 1), again = sampled(512, 1), more = sampled(8192, 1);
  EXPECT_EQ(one.tokens(), 512u);
  EXPECT_EQ(one.windows, again.windows);
  EXPECT_EQ(one.text_sha256, again.text_sha256);
  EXPECT_NE(one.windows, sampled(512, 2).windows);
  ASSERT_EQ(more.windows.size(), 128u);
  EXPECT_TRUE(std::equal(one.windows.begin(), one.windows.end(), more.windows.begin()));
  EXPECT_NE(one.text_sha256, more.text_sha256);
}

TEST_F(CalibrationTextTest, SampledTextIsNotTheTextThatIsMeasuredByDefault) {
  path = "self";
  const CalibrationText calibration = load(128, 128);
  EXPECT_EQ(calibration.tokens(), 128u);
  EXPECT_NO_THROW(refuse_overlap(calibration, sample_self_text(demo(), 128, 1), "self"));
}

// ---- Runs of tokens.

Tokens random_tokens(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 8000);
  return tokens;
}

Tokens joined(const Tokens& a, std::span<const TokenId> b) {
  Tokens all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

TEST(RunHashesTest, EveryRunOfSixtyFourTokensHasOne) {
  EXPECT_TRUE(run_hashes(random_tokens(63, 1), 64).empty());
  EXPECT_EQ(run_hashes(random_tokens(64, 1), 64).size(), 1u);
  const auto all = run_hashes(random_tokens(1000, 1), 64);
  EXPECT_EQ(all.size(), 937u);
  EXPECT_EQ(std::set<std::uint64_t>(all.begin(), all.end()).size(), 937u);
}

TEST(RunHashesTest, HashIsOfTheRunAndNotOfWhereItStands) {
  const Tokens text = random_tokens(300, 2);
  const auto all = run_hashes(text, 64);
  for (std::size_t start = 0; start + 64 <= text.size(); start += 7)
    EXPECT_EQ(run_hashes(std::span(text).subspan(start, 64), 64), std::vector{all[start]}) << start;
}

TEST(RunHashesTest, OrderAndEveryTokenCount) {
  const Tokens text = random_tokens(64, 3);
  const auto original = run_hashes(text, 64);
  for (std::size_t i = 0; i < 64; ++i) {
    Tokens other = text;
    other[i] += 1;
    EXPECT_NE(run_hashes(other, 64), original) << i;
  }
  Tokens swapped = text;
  std::swap(swapped[10], swapped[11]);
  EXPECT_NE(run_hashes(swapped, 64), original);
}

TEST(RefuseOverlapTest, FiresOnOneSharedRunAndOnNothingLess) {
  CalibrationText calibration;
  calibration.options.text = "train.txt";
  for (unsigned i = 0; i < 4; ++i) calibration.windows.push_back(random_tokens(512, 20 + i));
  const std::span<const TokenId> window = calibration.windows[2];
  const Tokens other = random_tokens(3000, 30);
  EXPECT_NO_THROW(refuse_overlap(calibration, other, "wiki.test"));
  EXPECT_NO_THROW(refuse_overlap(calibration, {}, "wiki.test"));
  for (const std::size_t start : {0u, 100u, 448u}) {
    EXPECT_ERROR(refuse_overlap(calibration, joined(other, window.subspan(start, 64)), "wiki.test"),
                 "wiki.test", "1 runs of 64 tokens", "train.txt", "must not be measured");
    EXPECT_NO_THROW(refuse_overlap(calibration, joined(other, window.subspan(start, 63)), "wiki.test"));
  }
  // Not across the border of two windows, which are no neighbours in the text.
  EXPECT_NO_THROW(refuse_overlap(
      calibration,
      joined(Tokens(window.end() - 40, window.end()), std::span(calibration.windows[3]).first(40)),
      "wiki.test"));
}

TEST_F(CalibrationTextTest, MeasuringOnTheSameFileIsRefused) {
  const CalibrationText calibration = load(512, 128);
  EXPECT_ERROR(refuse_overlap(calibration, demo().tokenizer->encode(text), "held out"), "held out", path);
  EXPECT_NO_THROW(refuse_overlap(calibration, demo().tokenizer->encode(made_up_text(2, 300)), "held out"));
}

}  // namespace
}  // namespace assay::test
