// What is kept of texts: every shared run of 64 tokens is found, in whatever is derived from whatever.
#include "assay/recipes/text_record.h"

#include <gtest/gtest.h>

#include <random>

#include "assay/base/checksum.h"
#include "assay/base/error.h"
#include "tests/support.h"

namespace assay::test {
namespace {

using Tokens = std::vector<TokenId>;

Tokens seeded_tokens(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Tokens tokens(count);
  for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 8000);
  return tokens;
}

/// A run of `text` in the middle of other tokens.
Tokens surrounded(std::span<const TokenId> run, std::size_t before, unsigned seed) {
  Tokens tokens = seeded_tokens(before, seed);
  tokens.insert(tokens.end(), run.begin(), run.end());
  const Tokens behind = seeded_tokens(50, seed + 1);
  tokens.insert(tokens.end(), behind.begin(), behind.end());
  return tokens;
}

TextFingerprint fingerprint_of(std::span<const TokenId> passage) {
  TextFingerprint fingerprint;
  fingerprint.add(passage);
  return fingerprint;
}

TEST(TextFingerprint, FindsEveryRunOfSixtyFourTokensWhereverItStands) {
  const Tokens text = seeded_tokens(600, 1);
  const TextFingerprint fingerprint = fingerprint_of(text);
  for (std::size_t start = 0; start + 64 <= text.size(); ++start)
    EXPECT_GT(fingerprint.count_shared(surrounded(std::span(text).subspan(start, 64), start % 71, 2)), 0u)
        << start;
}

TEST(TextFingerprint, FindsNothingInFewerThanFortyEight) {
  const Tokens text = seeded_tokens(600, 1);
  const TextFingerprint fingerprint = fingerprint_of(text);
  std::size_t found = 0;
  for (std::size_t start = 0; start + 63 <= text.size(); ++start) {
    EXPECT_EQ(fingerprint.count_shared(surrounded(std::span(text).subspan(start, 47), 9, 2)), 0u) << start;
    found += fingerprint.count_shared(surrounded(std::span(text).subspan(start, 48), 9, 2)) > 0 ? 1 : 0;
  }
  EXPECT_GT(found, 0u);    // sometimes
  EXPECT_LT(found, 150u);  // about one run in nine is kept
  EXPECT_EQ(fingerprint.count_shared(seeded_tokens(5000, 3)), 0u);
}

TEST(TextFingerprint, PassagesDoNotRunIntoOneAnother) {
  const Tokens a = seeded_tokens(200, 1), b = seeded_tokens(200, 2);
  TextFingerprint fingerprint = fingerprint_of(a);
  fingerprint.add(b);
  Tokens across(a.end() - 40, a.end());
  across.insert(across.end(), b.begin(), b.begin() + 40);
  EXPECT_EQ(fingerprint.count_shared(across), 0u);
  EXPECT_GT(fingerprint.count_shared(a), 0u);
  EXPECT_GT(fingerprint.count_shared(b), 0u);
}

TEST(TextFingerprint, ShortPassagesAreFoundWhole) {
  for (std::size_t length = 48; length < 64; ++length) {
    const Tokens text = seeded_tokens(length, 5);
    EXPECT_GT(fingerprint_of(text).count_shared(surrounded(text, 13, 6)), 0u) << length;
  }
  EXPECT_EQ(fingerprint_of(seeded_tokens(47, 5)), TextFingerprint());
}

TEST(TextFingerprint, IsSmall) {
  const std::string text = fingerprint_of(seeded_tokens(20000, 1)).to_base64();
  EXPECT_LT(text.size(), 30000u);  // 2 numbers of 8 bytes in 18 tokens, in base64: 1.2 bytes a token
  EXPECT_GT(text.size(), 20000u);
}

TEST(TextFingerprint, Base64IsReadAsWrittenAndNotOtherwise) {
  for (const std::size_t tokens : {0, 50, 100, 200, 1000}) {
    const TextFingerprint fingerprint = fingerprint_of(seeded_tokens(tokens, 1));
    const std::string text = fingerprint.to_base64();
    EXPECT_EQ(TextFingerprint::from_base64(text, "here"), fingerprint);
  }
  const std::string good = fingerprint_of(seeded_tokens(500, 1)).to_base64();
  for (const std::string& bad : {good.substr(1), good.substr(0, good.size() - 4), " " + good, good + "\n",
                                 good + good, std::string("AAAA"), std::string("?"), good.substr(0, 7) + "*"})
    EXPECT_ERROR(TextFingerprint::from_base64(bad, "here"), "here", "base64");
}

// ---- Records.

TextRecord record_for(const std::string& purpose, unsigned seed) {
  TextRecord text{purpose, purpose + ".txt", "hash", 600, "a tokenizer", {}, {}};
  text.fingerprint.add(seeded_tokens(600, seed));
  return text;
}

TEST(TextRecords, AreReadAsWritten) {
  const TextRecords texts = {record_for("calibration", 1), record_for("allocation", 2),
                             record_for("routing", 3)};
  const Json json = Json::parse(texts_to_json(texts).dump());
  EXPECT_EQ(texts_from_json(json, "here"), texts);
}

TEST(TextRecords, WhatIsChangedInThemIsSeen) {
  const Json good = Json::parse(record_for("routing", 1).to_json().dump());
  for (const auto& [key, value] : good.items()) {
    Json other = good;
    other[key] = value.is_number() ? Json(601) : Json(value.get<std::string>() + "x");
    EXPECT_ERROR(TextRecord::from_json(other, "model-q4: text 0"), "model-q4: text 0", "damaged");
    other.erase(key);
    EXPECT_ERROR(TextRecord::from_json(other, "model-q4: text 0"), "model-q4: text 0");
  }
  EXPECT_ERROR(texts_from_json(Json(3), "here"), "here", "list");
  OrderedJson foreign = {{"purpose", "fun"}, {"path", ""}, {"sha256", ""}, {"tokens", 1}};
  EXPECT_ERROR(TextRecord::from_json(Json::parse(sealed(foreign).dump()), "here"), "here", "purpose", "fun");
}

TEST(TextRecords, AddingKeepsEachOnce) {
  TextRecords texts = {record_for("calibration", 1)};
  add_texts(texts, {record_for("routing", 1), record_for("calibration", 1), record_for("calibration", 2)});
  EXPECT_EQ(texts, (TextRecords{record_for("calibration", 1), record_for("routing", 1),
                                record_for("calibration", 2)}));
}

TEST(TextRecords, AnyOfThemRefusesTheMeasuredText) {
  const TextRecords texts = {record_for("calibration", 1), record_for("allocation", 2),
                             record_for("routing", 3)};
  EXPECT_NO_THROW(refuse_overlap(texts, seeded_tokens(5000, 9), "wiki.test", "a tokenizer"));
  for (unsigned seed : {1u, 2u, 3u}) {
    const Tokens text = seeded_tokens(600, seed);
    const std::string purpose = texts[seed - 1].purpose;
    EXPECT_ERROR(refuse_overlap(texts, surrounded(std::span(text).subspan(200, 64), 30, 7), "wiki.test",
                                "a tokenizer"),
                 "wiki.test", purpose + " text " + purpose + ".txt", "must not be measured");
  }
  EXPECT_ERROR(refuse_overlap(texts, seeded_tokens(100, 9), "wiki.test", "another"), "wiki.test",
               "calibration.txt", "another tokenizer");
}

TEST(TextRecords, OldManifestsAreHonoured) {
  const Tokens text = seeded_tokens(2000, 1);
  std::vector<std::string> shingles;
  for (const std::uint64_t hash : run_hashes(text, 64))
    if (hash % 64 == 0) shingles.push_back(fmt::format("{:016x}", hash));
  ASSERT_GT(shingles.size(), 10u);
  Checkpoint checkpoint;
  checkpoint.path = "model-q4";
  EXPECT_TRUE(texts_of(checkpoint).empty());
  checkpoint.manifest = Json{{"tensors", Json::object()}};
  EXPECT_TRUE(texts_of(checkpoint).empty());
  checkpoint.manifest->emplace(
      "calibration",
      Json{{"text", "old.txt"}, {"text_sha256", "x"}, {"tokens", 2000}, {"shingles", shingles}});
  const TextRecords texts = texts_of(checkpoint);
  ASSERT_EQ(texts.size(), 1u);
  EXPECT_ERROR(refuse_overlap(texts, text, "held out", "any"), "held out", "calibration text old.txt");
  EXPECT_NO_THROW(refuse_overlap(texts, seeded_tokens(2000, 2), "held out", "any"));
  EXPECT_EQ(texts_from_json(Json::parse(texts_to_json(texts).dump()), "here"), texts);  // carried on
  checkpoint.manifest->at("calibration")["shingles"] = 3;
  EXPECT_ERROR(texts_of(checkpoint), "model-q4", "shingles");
  checkpoint.manifest->at("calibration").erase("shingles");
  EXPECT_ERROR(texts_of(checkpoint), "model-q4", "shingles", "texts");
}

}  // namespace
}  // namespace assay::test
