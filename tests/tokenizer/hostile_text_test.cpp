// What a few bytes of a tokenizer, a template or a text may cost: memory in proportion, time without powers.
#include <gmock/gmock.h>

#include <random>

#include "assay/base/error.h"
#include "assay/tokenizer/added_tokens.h"
#include "assay/tokenizer/chat_template.h"
#include "assay/tokenizer/normalizer.h"
#include "assay/tokenizer/split_regex.h"
#include "tests/processor_time.h"
#include "tests/support.h"
#include "tests/tokenizer/small_tokenizer.h"

namespace assay {
namespace {

using test::expect_quick;
using test::Ids;
using test::load_json;
using test::small_tokenizer;

const std::string kOrigin = "model";

std::string repeat(const std::string& text, std::size_t times) {
  std::string result;
  for (; times > 0; --times) result += text;
  return result;
}

Json replace(const std::string& pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}

Json sequence(const Json& step, int times) {
  Json steps = Json::array();
  for (int i = 0; i < times; ++i) steps.push_back(step);
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

std::string normalize(const Json& json, const std::string& text) {
  TextBudget budget(text.size(), kOrigin);
  return Normalizer(json, kOrigin).apply(text, budget);
}

TEST(HostileText, NormalizationGrowsInProportion) {
  EXPECT_EQ(normalize(sequence(replace("a", "aa"), 4), "aaaa").size(), 64U);
  EXPECT_ERROR(normalize(sequence(replace("a", "aa"), 30), "aaaa"), "model: the normalizer makes more than");
  const std::string megabyte(1u << 20, 'x');
  EXPECT_EQ(normalize({{"type", "Prepend"}, {"prepend", megabyte}}, "a").size(), (1u << 20) + 1);
  EXPECT_ERROR(normalize(sequence({{"type", "Prepend"}, {"prepend", megabyte}}, 2), "a"), "makes more than");
  // Just what is allowed, and one more byte.
  const std::size_t most = 16 + (1u << 20);
  EXPECT_EQ(normalize(replace("a", std::string(most, 'x')), "a").size(), most);
  EXPECT_ERROR(normalize(replace("a", std::string(most + 1, 'x')), "a"), "makes more than");
  EXPECT_ERROR(Normalizer(sequence(replace("a", "a"), 65), kOrigin), "more than 64 steps");
}

/// A byte-level tokenizer cannot grow; this is Llama 2's kind.
Json character_tokenizer(const Json& normalizer) {
  Json json = small_tokenizer();
  json["normalizer"] = normalizer;
  json["pre_tokenizer"] = nullptr;
  json["decoder"] = {{"type", "Sequence"},
                     {"decoders", {replace("\u2581", " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
  return json;
}

TEST(HostileText, AllPiecesOfATextShareOneBudget) {
  const TokenizerPtr tokenizer =
      load_json(character_tokenizer({{"type", "Prepend"}, {"prepend", std::string(100000, 'x')}}));
  EXPECT_EQ(tokenizer->encode("a<s>a").size(), 2U * 100001 + 1);
  EXPECT_ERROR(tokenizer->encode(repeat("a<s>", 20)), "model/tokenizer.json", "makes more than");
}

TEST(HostileText, AnAddedTokenMustNotVanishInNormalization) {
  Json json = character_tokenizer(replace("<", ""));
  json["added_tokens"][0] = {{"id", 261}, {"content", "<"}, {"special", false}, {"normalized", true}};
  EXPECT_ERROR(load_json(json), "model/tokenizer.json", "nothing is left", "\"<\"");
}

TEST(HostileText, ARunOfMarksIsOrderedInNoQuadraticTime) {
  const Json nfc = {{"type", "NFC"}};
  EXPECT_EQ(normalize(nfc, "a\u0315\u0300b"), "\u00e0\u0315b");
  EXPECT_EQ(normalize(nfc, "\u0301a\u0323\u0307"), "\u0301\u1ea1\u0307");
  EXPECT_EQ(normalize(nfc, "\u1100\u1161\u11a8"), "\uac01");  // Hangul
  EXPECT_EQ(normalize(nfc, "\u0958"), "\u0915\u093c");        // excluded from composition
  EXPECT_EQ(normalize(nfc, "\u212b\ufb01"), "\u00c5\ufb01");  // canonical, not compatible
  EXPECT_EQ(normalize(nfc, "a\u0328\u0301\u0301"), "\u0105\u0301\u0301");
  const std::size_t many = 70000;
  expect_quick([&] {
    EXPECT_EQ(normalize(nfc, "a" + repeat("\u0315\u0300", many)),
              "\u00e0" + repeat("\u0300", many - 1) + repeat("\u0315", many));
  });
}

std::vector<std::string> found(const SplitRegex& regex, const std::string& text, double seconds) {
  TextBudget budget(text.size(), kOrigin, seconds);
  std::vector<std::string> result;
  for (const TextSpan& span : regex.find_all(text, budget))
    result.push_back(text.substr(span.begin, span.end - span.begin));
  return result;
}

TEST(HostileText, AllMatchesOfATextShareItsTime) {
  const auto endless = [](const std::string& pattern, std::size_t length) {
    const SplitRegex regex(pattern, kOrigin);
    expect_quick([&] {
      EXPECT_ERROR(found(regex, std::string(length, 'a'), 0.05), "model: split pattern",
                   "does not come to an end");
    });
  };
  endless(repeat("(?:a|a)", 18) + "b|[^b]", 3000);  // every match by itself is within the engine's limits
  endless(repeat("(?:a|a)", 18) + "[bc]", 3000);    // and every place where there is none
  endless("a+b|[^b]", 400000);                      // quadratic
  endless("[ab]+[ab]+[ab]+c|[^c]", 20000);          // and beyond
}

TEST(HostileText, MatchesAreFoundHoweverFarApart) {
  const SplitRegex needle("(?<=y)\\p{N}+x", kOrigin);
  for (const char* before : {"z", "\u00e9", "\u65e5"})
    for (std::size_t many = 0; many < 120; ++many)
      EXPECT_EQ(found(needle, repeat(before, many) + "y77xy7x", 2), (std::vector<std::string>{"77x", "7x"}))
          << before << many;
  // Steps beyond the first few are granted.
  const std::string row = repeat("ab", 20000) + "c";
  EXPECT_EQ(found(SplitRegex("(?:ab?)+c", kOrigin), "--" + row, 2), std::vector<std::string>{row});
}

/// The definition: at every place the longest token, leftmost first.
std::vector<TokenId> find_naively(const std::vector<AddedToken>& tokens, const std::string& text) {
  std::vector<TokenId> ids;
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* longest = nullptr;
    for (const AddedToken& token : tokens)
      if (text.compare(at, token.content.size(), token.content) == 0 &&
          (longest == nullptr || token.content.size() >= longest->content.size()))
        longest = &token;
    ids.push_back(longest == nullptr ? -1 - text[at] : longest->id);
    at += longest == nullptr ? 1 : longest->content.size();
  }
  return ids;
}

TEST(HostileText, AddedTokensAreTheLeftmostLongest) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<AddedToken> tokens(1 + random() % 8);
    const auto letters = [&](std::size_t length) {
      std::string text;
      for (; length > 0; --length) text += static_cast<char>('a' + random() % 2);
      return text;
    };
    for (std::size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = {.id = static_cast<TokenId>(i), .content = letters(1 + random() % 6)};
    const std::string text = letters(60);
    std::vector<TokenId> ids;
    for (const TextPiece& piece : AddedTokenFinder(tokens).split(text)) {
      if (piece.token) ids.push_back(*piece.token);
      for (const char c : piece.text) ids.push_back(-1 - c);
    }
    ASSERT_EQ(ids, find_naively(tokens, text)) << "round " << round;
  }
}

TEST(HostileText, AddedTokensAreFoundInLinearTime) {
  const AddedTokenFinder almost({{.id = 1, .content = std::string(40000, 'a') + "b"}});
  const AddedTokenFinder spaces({{.id = 1, .content = " ", .strip_left = true, .strip_right = true}});
  std::vector<AddedToken> many(100000);
  for (std::size_t i = 0; i < many.size(); ++i)
    many[i] = {.id = static_cast<TokenId>(i), .content = std::to_string(i)};
  expect_quick([&] {
    EXPECT_EQ(almost.split(std::string(80000, 'a')).size(), 1U);
    EXPECT_EQ(almost.split(std::string(80000, 'a') + "bb").size(), 3U);
    EXPECT_EQ(spaces.split(std::string(100000, ' ')).size(), 100000U);
    EXPECT_EQ(AddedTokenFinder(many).split(repeat("9", 100000)).size(), 20000U);
  });
}

TEST(HostileText, ManyAddedTokensInEveryFileAreReadInLinearTime) {
  Json config, added;
  for (int i = 0; i < 20000; ++i) {
    config["added_tokens_decoder"][std::to_string(300 + i)] = {{"content", fmt::format("<{}>", i)}};
    config["additional_special_tokens"].push_back(fmt::format("<{}>", i));
    added[fmt::format("<{}>", i)] = 300 + i;
  }
  expect_quick([&] {
    const TokenizerPtr tokenizer = load_tokenizer({{"tokenizer.json", small_tokenizer().dump()},
                                                   {"tokenizer_config.json", config.dump()},
                                                   {"added_tokens.json", added.dump()}},
                                                  "model");
    EXPECT_EQ(tokenizer->encode("<19999>he"), (Ids{20299, 256}));
  });
}

TEST(HostileText, LongSpellingsAreDecodedInLinearTime) {
  Json json = character_tokenizer(replace(" ", "\u2581"));
  json["model"]["vocab"][repeat("\u2581", 300000)] = 263;
  expect_quick([&] { EXPECT_EQ(load_json(json)->decode(Ids{263}), std::string(300000, ' ')); });
}

TEST(HostileText, OneLongWordIsEncodedInNoQuadraticTime) {
  const std::string word = repeat("ab", 300000);
  const TokenizerPtr characters = load_json(character_tokenizer(replace(" ", "\u2581")));
  expect_quick([&] { EXPECT_EQ(characters->encode(word).size(), 150000U); });
  // sentencepiece, BPE and unigram.
  for (const char* name : {"bpe", "unigram"}) {
    const std::string path = test::project(fmt::format("tests/data/sentencepiece_{}.model", name));
    const TokenizerPtr tokenizer = load_tokenizer({{"tokenizer.model", test::read_bytes(path)}}, "model");
    expect_quick([&] { EXPECT_GT(tokenizer->encode(std::string(300000, 'a')).size(), 1U) << name; });
  }
}

TEST(HostileText, ADeepNestOfBracketsIsAnError) {
  const auto nested = [](const std::string& open, const std::string& close) {
    return repeat(open, 100000) + repeat(close, 100000);
  };
  for (const auto& [open, close] :
       {std::pair("(", ")"), std::pair("[", "]"), std::pair("{'a':", "}"), std::pair("not ", ""),
        std::pair("-", ""), std::pair("x[", "]"), std::pair("f(", ")"), std::pair("1 if 1 else ", "")})
    EXPECT_ERROR(render_chat_template("{{ " + nested(open, close) + " }}", {}, "model"),
                 "model: chat template");
  EXPECT_ERROR(render_chat_template(nested("{% if 1 %}", "{% endif %}"), {}, "model"), "nested deeper");
  Json deep = small_tokenizer();
  std::string file = deep.dump();
  file.insert(file.size() - 1, ",\"x\":" + nested("[", "]"));
  EXPECT_ERROR(load_tokenizer({{"tokenizer.json", file}}, "model"), "model/tokenizer.json");
}

TEST(HostileText, EveryStepOfATemplateIsCharged) {
  // A few bytes each, which would run for minutes. `a` and `b` are equal, `n` is longer than half of them.
  const std::string texts =
      "{% set a = 'x' * 400000 %}{% set b = 'x' * 400000 %}{% set n = 'x' * 200000 ~ 'y' %}";
  const std::string loop = "{% for i in range(20000) %}", end = "{% endfor %}";
  ChatTemplateInput input;
  input.date = "2024-07-26";
  const auto endless = [&](const std::string& source) {
    SCOPED_TRACE(source.substr(0, 200));
    expect_quick([&] {
      EXPECT_ERROR(render_chat_template(source, input, "model"), "model: chat template",
                   "does not come to an end within");
    });
  };
  for (const char* expression : {"a == b",
                                 "a != b",
                                 "a < b",
                                 "a is eq(b)",
                                 "[a] == [b]",
                                 "{'k': a} == {'k': b}",
                                 "a in [b]",
                                 "'y' in a",
                                 "a.startswith(b)",
                                 "a.endswith(b)",
                                 "a.endswith([b])",
                                 "a.removeprefix('z')",
                                 "a.removesuffix('z')",
                                 "a.find('y')",
                                 "a.count('y')",
                                 "a.split('y')",
                                 "a.replace('y', 'z')",
                                 "a | replace('y', 'z')",
                                 "a | upper",
                                 "a.lower()",
                                 "a.title()",
                                 "a | capitalize",
                                 "a | trim",
                                 "a.strip()",
                                 "a.lstrip('y')",
                                 "a | length",
                                 "a | int",
                                 "a | float",
                                 "a[0]",
                                 "a[1:2]",
                                 "a | first",
                                 "a | last",
                                 "a | list",
                                 "a | reverse",
                                 "a | tojson",
                                 "a ~ b",
                                 "a + b",
                                 "a * 2",
                                 "[a] | join",
                                 "a.join(['', ''])",
                                 "{'k': 1}[a]",
                                 "{'k': 1}.get(a)",
                                 "a in {'k': 1}",
                                 "a | string",
                                 "a | default(b) | string",
                                 "range(100000)",
                                 "range(100000) | list",
                                 "strftime_now(a)"}) {
    endless(texts + loop + "{% set u = " + expression + " %}" + end);
  }
  for (const char* expression : {"n in a", "a.find(n)", "a.count(n)", "a.split(n)", "a.replace(n, '')",
                                 "a | replace(n, '')", "a.strip(a)", "a.lstrip(b)", "a | trim(a)"})
    endless(texts + "{% set u = " + expression + " %}");
  std::string sets, keys, named, parameters;
  for (int i = 0; i < 15000; ++i) {
    sets += fmt::format("{{% set v{} = 1 %}}", i);
    keys += fmt::format("'{}': 1,", i);
    named += fmt::format("v{}=1,", i);
    parameters += fmt::format("{}v{}", i == 0 ? "" : ",", i);
  }
  endless(sets);
  endless("{% set d = {" + keys + "} %}");
  endless("{% set d = namespace(" + named + ") %}");
  endless("{% macro m(" + parameters + ") %}{% endmacro %}{{ m(" + named + ") }}");
  const std::string key(200000, 'k');
  endless(loop + "{% for k in {'" + key + "': 1} %}" + end + end);
  for (const char* method : {"keys()", "items()", "values()"})
    endless("{% set d = {'" + key + "': 1} %}" + loop + "{% set u = d." + method + " %}" + end);
  endless("{% set d = {'" + key + "': 1} %}" + loop + "{% set u = d | tojson %}{% set u = d | items %}" +
          end);
}

TEST(HostileText, OrdinaryTemplatesAreFarFromTheirLimit) {
  ChatTemplateInput input;
  for (int i = 0; i < 200; ++i) input.messages.push_back({"user", std::string(20000, 'x')});
  const std::string source =
      "{% for m in messages %}{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1] }}{% elif "
      "m.content == messages[0].content %}{{ m.content | trim }}{% endif %}{% endfor %}";
  EXPECT_EQ(render_chat_template(source, input, "model").size(), 200U * 20000);
}

}  // namespace
}  // namespace assay
