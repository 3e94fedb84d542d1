#include "assay/runtime/session.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "assay/base/error.h"
#include "assay/kernels/host_layer_state.h"
#include "assay/runtime/prompt.h"
#include "assay/runtime/text_stream.h"
#include "tests/model/reference_forward.h"
#include "tests/support.h"

namespace assay {
namespace {

const LoadedModel& demo() {
  static const LoadedModel model = load_model(test::demo_model());
  return model;
}

std::vector<TokenId> ids_of(const std::vector<GeneratedToken>& tokens) {
  std::vector<TokenId> ids;
  for (const GeneratedToken& token : tokens) ids.push_back(token.id);
  return ids;
}

// ---- Sampling

TEST(Sampling, GreedyTakesTheLargestAndTheLowestIdOfEquals) {
  Sampler greedy({});
  EXPECT_EQ(greedy.pick(std::vector<float>{1, 3, 2}).id, 1);
  EXPECT_EQ(greedy.pick(std::vector<float>{1, 3, 3, 3}).id, 1);
  EXPECT_EQ(greedy.pick(std::vector<float>{-5}).id, 0);
}

TEST(Sampling, TopTwoGivesTheMargin) {
  EXPECT_EQ(top_two(std::vector<float>{1, 5, 3}).best, 1);
  EXPECT_EQ(top_two(std::vector<float>{1, 5, 3}).margin, 2);
  EXPECT_EQ(top_two(std::vector<float>{5, 1, 3}).margin, 2);
  EXPECT_EQ(top_two(std::vector<float>{5, 5}).margin, 0);
}

TEST(Sampling, RefusesLogitsThatAreNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    const std::vector<float> logits = {1, bad, 2};
    EXPECT_ERROR(Sampler({}).pick(logits), "token 1", "finite");
    EXPECT_ERROR(Sampler({.temperature = 1}).pick(logits), "token 1");
  }
}

TEST(Sampling, RefusesImpossibleOptions) {
  EXPECT_ERROR(Sampler({.temperature = -1}), "temperature", "-1");
  EXPECT_ERROR(Sampler({.temperature = std::nan("")}), "temperature");
  EXPECT_ERROR(Sampler({.top_k = -1}), "top-k", "-1");
  EXPECT_ERROR(Sampler({.top_p = 0}), "top-p", "0");
  EXPECT_ERROR(Sampler({.top_p = 1.5}), "top-p", "1.5");
}

/// How often each id is drawn.
std::map<std::int32_t, double> frequencies(const SamplingOptions& options, const std::vector<float>& logits) {
  constexpr int kDraws = 20000;
  Sampler sampler(options);
  std::map<std::int32_t, double> share;
  for (int i = 0; i < kDraws; ++i) share[sampler.pick(logits).id] += 1.0 / kDraws;
  return share;
}

TEST(Sampling, DrawsFromTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits = {std::log(1.0f), std::log(2.0f), std::log(5.0f)};
  auto share = frequencies({.temperature = 1, .seed = 7}, logits);
  EXPECT_NEAR(share[0], 0.125, 0.01);
  EXPECT_NEAR(share[1], 0.25, 0.01);
  EXPECT_NEAR(share[2], 0.625, 0.015);
  share = frequencies({.temperature = 0.5, .seed = 7}, logits);  // squares: 1, 4, 25
  EXPECT_NEAR(share[0], 1.0 / 30, 0.01);
  EXPECT_NEAR(share[2], 25.0 / 30, 0.015);
}

TEST(Sampling, TopKAndTopPCutTheTail) {
  const std::vector<float> logits = {std::log(1.0f), std::log(4.0f), std::log(2.0f), std::log(3.0f)};
  auto share = frequencies({.temperature = 1, .top_k = 2, .seed = 3}, logits);
  EXPECT_EQ(share.size(), 2u);
  EXPECT_NEAR(share[1], 4.0 / 7, 0.015);
  EXPECT_NEAR(share[3], 3.0 / 7, 0.015);
  // 0.4 + 0.3 = 0.7 is not yet 0.75: the third candidate belongs to the set.
  share = frequencies({.temperature = 1, .top_p = 0.75, .seed = 3}, logits);
  EXPECT_EQ(share.size(), 3u);
  EXPECT_NEAR(share[2], 2.0 / 9, 0.015);
  share = frequencies({.temperature = 1, .top_p = 0.01, .seed = 3}, logits);
  EXPECT_EQ(share.size(), 1u);
  EXPECT_TRUE(share.contains(1));
  // Of equals top-k keeps the lowest ids.
  share = frequencies({.temperature = 1, .top_k = 2, .seed = 3}, {1, 1, 1, 1});
  EXPECT_EQ(share.size(), 2u);
  EXPECT_TRUE(share.contains(0) && share.contains(1));
}

TEST(Sampling, IsDeterministicInTheSeed) {
  const std::vector<float> logits(1000, 0.0f);
  const auto draw = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(sampler.pick(logits).id);
    return ids;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

// ---- What a sequence remembers

HostLayerState<float>& layer_of(SequenceMemory& state, int layer) {
  return static_cast<HostLayerState<float>&>(state.layer(layer));
}

TEST(SequenceMemory, GrowsInStepsAndKeepsItsContent) {
  ModelConfig config;
  config.layers = 2;
  config.blocks.resize(2);
  config.kv_heads = 2;
  config.head_dim = 4;
  config.max_positions = 1000;
  const auto state = std::make_unique<SequenceMemory>(config);
  EXPECT_EQ(state->length(), 0);
  state->reserve(3);
  ASSERT_GE(layer_of(*state, 1).positions(), 3u);
  layer_of(*state, 1).keys(1)[5] = 42;
  layer_of(*state, 0).values(0)[6] = 43;
  EXPECT_EQ(state->length(), 0);  // nothing is held before commit
  state->commit(3);
  EXPECT_EQ(state->length(), 3);
  for (int i = 3; i < 1000; ++i) {
    state->reserve(1);
    state->commit(1);
  }
  EXPECT_EQ(state->length(), 1000);
  EXPECT_EQ(layer_of(*state, 0).positions(), 1000u);  // never beyond the limit
  EXPECT_EQ(layer_of(*state, 1).keys(1)[5], 42);
  EXPECT_EQ(layer_of(*state, 0).values(0)[6], 43);
  EXPECT_ERROR(state->reserve(1), "1001", "1000", "max_position_embeddings");
  EXPECT_ERROR(state->reserve(std::numeric_limits<int>::max()), "1000");
  EXPECT_EQ(state->length(), 1000);
}

TEST(SequenceMemory, WhatIsCarriedMovesOnOnlyWithTheSequence) {
  ModelConfig config;
  config.layers = 2;
  config.blocks = {{MixerKind::delta_net}, {}};
  config.kv_heads = 1;
  config.head_dim = 2;
  config.max_positions = 100;
  config.delta_net = {.key_heads = 1, .value_heads = 2, .key_dim = 3, .value_dim = 4, .kernel = 4};
  SequenceMemory state(config);
  state.reserve(1);
  EXPECT_EQ(config.layer_state(0).carried, 3u * (2 * 3 + 2 * 4) + 2 * 4 * 3);
  EXPECT_EQ(config.layer_state(1).carried, 0u);
  EXPECT_EQ(layer_of(state, 0).positions(), 0u);
  EXPECT_GE(layer_of(state, 1).positions(), 1u);
  layer_of(state, 0).after()[5] = 7;
  EXPECT_EQ(layer_of(state, 0).before()[5], 0);  // a pass that failed here would have changed nothing
  state.commit(0);
  EXPECT_EQ(layer_of(state, 0).before()[5], 0);
  state.commit(1);
  EXPECT_EQ(layer_of(state, 0).before()[5], 7);
}

TEST(SequenceMemory, AForwardPassBeyondTheLimitChangesNothing) {
  const Model& model = *demo().model;
  const auto state = make_sequence_state(model);
  const std::vector<TokenId> tokens(static_cast<std::size_t>(model.config().max_positions) + 1, 5);
  const Chunk chunk{state.get(), tokens};
  std::vector<float> hidden;
  EXPECT_ERROR(forward(model, {&chunk, 1}, hidden), "1025", "1024");
  EXPECT_EQ(state->length(), 0);
}

// ---- Generation

TEST(Generate, StopsAtMaxTokensAtTheCallersWordAndAtTheEndToken) {
  const std::vector<TokenId> prompt = {434, 1176, 274, 2305, 317};
  const Model& model = *demo().model;
  EXPECT_EQ(generate(model, prompt, {.max_tokens = 5}).size(), 5u);
  EXPECT_TRUE(generate(model, prompt, {.max_tokens = 0}).empty());
  int seen = 0;
  const auto made =
      generate(model, prompt, {.max_tokens = 9}, [&](const GeneratedToken&) { return ++seen < 3; });
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(made.size(), 3u);

  const Json eval = read_json_file(test::project("tests/data/tiny/eval.json"));
  for (const Json& generation : eval.at("generations")) {
    if (generation.at("new_ids").size() == 64) continue;
    const auto ended = generation.at("prompt_ids").get<std::vector<TokenId>>();
    const auto tokens = generate(model, ended, {.max_tokens = 64});
    EXPECT_EQ(tokens.back().id, 8191);
    EXPECT_EQ(generate(model, ended, {.max_tokens = 64, .stop_at_end_token = false}).size(), 64u);
  }
}

TEST(Generate, RefusesWhatDoesNotFit) {
  const Model& model = *demo().model;
  EXPECT_ERROR(generate(model, {}, {}), "prompt", "no tokens");
  const std::vector<TokenId> prompt(1000, 5);
  EXPECT_ERROR(generate(model, prompt, {.max_tokens = 26}), "1000", "26", "1025", "1024");
  EXPECT_NO_THROW(generate(model, prompt, {.max_tokens = 25, .stop_at_end_token = false}));
  EXPECT_ERROR(generate(model, prompt, {.max_tokens = -1}), "max-tokens", "-1");
}

TEST(Generate, SamplesDeterministically) {
  const std::vector<TokenId> prompt = {434, 1176};
  const auto draw = [&](std::uint64_t seed) {
    return ids_of(
        generate(*demo().model, prompt, {.max_tokens = 12, .sampling = {.temperature = 1, .seed = seed}}));
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Session, ContinuesAConversationWithoutComputingItAgain) {
  const Model& model = *demo().model;
  Session session(model);
  std::vector<TokenId> conversation = {434, 1176, 274};
  const auto first = session.generate(conversation, {.max_tokens = 4});
  EXPECT_EQ(session.reused(), 0u);
  for (const GeneratedToken& token : first) conversation.push_back(token.id);
  conversation.insert(conversation.end(), {2305, 317});
  const auto second = session.generate(conversation, {.max_tokens = 6});
  EXPECT_EQ(session.reused(), 6u);  // the last token of the answer had not been fed
  EXPECT_EQ(ids_of(second), ids_of(generate(model, conversation, {.max_tokens = 6})));

  // What leaves the tokens held goes back to where it does: a prompt of another end, of another start, the
  // same once more (its last token has no logits any more).
  const std::vector<TokenId> shorter = {434, 99, 274}, longer(30, 99);
  const std::vector<std::pair<std::vector<TokenId>, std::size_t>> others = {
      {shorter, 1}, {longer, 0}, {longer, 29}};
  for (const auto& [other, reused] : others) {
    EXPECT_EQ(ids_of(session.generate(other, {.max_tokens = 6})),
              ids_of(generate(model, other, {.max_tokens = 6})));
    EXPECT_EQ(session.reused(), reused);
  }
}

// What a delta net carries cannot be shortened: a prompt goes back to the end of an earlier one that it
// begins with.
TEST(Session, DeltaNetsGoBackToSnapshots) {
  const test::MemoryModel random({{"model_type", "qwen3_next"},
                                  {"hidden_size", 32},
                                  {"num_hidden_layers", 2},
                                  {"full_attention_interval", 2},
                                  {"intermediate_size", 32},
                                  {"num_attention_heads", 2},
                                  {"num_key_value_heads", 1},
                                  {"head_dim", 16},
                                  {"vocab_size", 50},
                                  {"max_position_embeddings", 512},
                                  {"rms_norm_eps", 1e-6},
                                  {"rope_theta", 500.0},
                                  {"tie_word_embeddings", true},
                                  {"linear_num_key_heads", 1},
                                  {"linear_num_value_heads", 2},
                                  {"linear_key_head_dim", 8},
                                  {"linear_value_head_dim", 8},
                                  {"linear_conv_kernel_dim", 4},
                                  {"num_experts", 0}});
  const ModelPtr model = Model::load(random.checkpoint());
  const std::vector<TokenId> system = {3, 1, 4, 1, 5};
  const auto with = [&](std::vector<TokenId> more) {
    std::vector<TokenId> prompt = system;
    prompt.insert(prompt.end(), more.begin(), more.end());
    return prompt;
  };
  Session session(*model);
  const std::vector<std::pair<std::vector<TokenId>, std::size_t>> prompts = {
      {system, 0},
      {with({9, 2}), 5},  // the answer to `system` is forgotten
      {with({9, 2, 6, 5}), 7},
      {with({9, 2, 6, 8, 8}), 7},
      {with({9, 2, 6, 5}), 7},
      {with({7}), 5},
      {with({9, 2, 6}), 5},  // the snapshots behind `system` are gone with the tokens they stood for
      {{3, 1, 4}, 0},        // shorter than any snapshot
      {with({9}), 3}};
  for (const auto& [prompt, reused] : prompts) {
    EXPECT_EQ(ids_of(session.generate(prompt, {.max_tokens = 3})),
              ids_of(generate(*model, prompt, {.max_tokens = 3})));
    EXPECT_EQ(session.reused(), reused) << prompt.size();
  }
}

TEST(Session, LongPromptsInPiecesEqualOnePrefill) {
  std::vector<TokenId> prompt;
  for (int i = 0; i < 900; ++i) prompt.push_back((i * 37) % 8000);
  const auto made = generate(*demo().model, prompt, {.max_tokens = 1});
  const auto logits = compute_logits(*demo().model, prompt, 1);
  EXPECT_EQ(made[0].id, top_two(logits).best);
  EXPECT_NEAR(made[0].margin, top_two(logits).margin, 1e-4);
}

TEST(ComputeLogits, GivesTheLastPositions) {
  const std::vector<TokenId> ids = {434, 1176, 274, 2305, 317};
  const auto all = compute_logits(*demo().model, ids, 0), two = compute_logits(*demo().model, ids, 2);
  ASSERT_EQ(all.size(), 5u * 8192);
  ASSERT_EQ(two.size(), 2u * 8192);
  for (std::size_t i = 0; i < two.size(); ++i) ASSERT_NEAR(two[i], all[3 * 8192 + i], 1e-4);
  EXPECT_ERROR(compute_logits(*demo().model, ids, 6), "6", "5");
  EXPECT_ERROR(compute_logits(*demo().model, {}, 0), "no token ids");
}

// ---- Prompts and text

TEST(Prompt, ChatGoesThroughTheTemplateAsTheReferenceDid) {
  const Json eval = read_json_file(test::project("tests/data/tiny/eval.json"));
  int chats = 0;
  for (const Json& generation : eval.at("generations")) {
    const auto text = generation.at("prompt").get<std::string>();
    const auto truth = generation.at("prompt_ids").get<std::vector<TokenId>>();
    if (generation.at("kind") != "chat") {
      EXPECT_EQ(encode_prompt(*demo().tokenizer, text), truth) << text;
      continue;
    }
    // The reference keeps the rendered template: the question stands inside.
    const std::size_t begin = std::string("<|im_start|>user\n").size();
    const std::string question = text.substr(begin, text.find("<|im_end|>") - begin);
    EXPECT_EQ(encode_chat(demo(), {{"user", question}}), truth) << text;
    ++chats;
  }
  EXPECT_EQ(chats, 2);
}

TEST(TextStream, HoldsBackIncompleteCharacters) {
  const Tokenizer& tokenizer = *demo().tokenizer;
  const std::string text = "caf\u00e9 \U0001F600 \u4f60\u597d, plain.";
  const auto ids = tokenizer.encode(text);
  TextStream stream(tokenizer, ids[0]);
  std::string printed;
  for (const TokenId id : ids) {
    printed += stream.add(id);
    ASSERT_TRUE(text.starts_with(printed));
    // Whatever is printed ends with a whole character.
    const auto next = static_cast<unsigned char>(text[std::min(printed.size(), text.size() - 1)]);
    ASSERT_NE(next & 0xC0, 0x80) << printed;
  }
  EXPECT_EQ(printed + stream.finish(), text);
}

TEST(TextStream, GivesIncompleteCharactersAtTheEndAndSkipsSpecialTokens) {
  const Tokenizer& tokenizer = *demo().tokenizer;
  const auto ids = tokenizer.encode("\U0001F600");
  ASSERT_GT(ids.size(), 1u);  // several byte tokens
  TextStream stream(tokenizer, std::nullopt);
  EXPECT_EQ(stream.add(ids[0]), "");
  EXPECT_EQ(stream.add(demo().model->config().end_tokens.front()), "");
  EXPECT_EQ(stream.finish(), tokenizer.decode({&ids[0], 1}));
  EXPECT_EQ(stream.finish(), "");
}

// ---- Text sampled from the model

TEST(SelfText, IsDeterministicAndMadeOfDocuments) {
  const auto text = sample_self_text(demo(), 300, 5);
  ASSERT_EQ(text.size(), 300u);
  EXPECT_EQ(text, sample_self_text(demo(), 300, 5));
  EXPECT_NE(text, sample_self_text(demo(), 300, 6));
  for (const TokenId id : text) ASSERT_TRUE(id >= 0 && id < 8192);
  EXPECT_EQ(text[127], demo().model->config().end_tokens.front());  // every sequence ends a document
  EXPECT_EQ(text[255], demo().model->config().end_tokens.front());
}

// The model must find its own text likely: about its own entropy, far below chance.
TEST(SelfText, IsLikelyUnderTheModel) {
  const auto text = sample_self_text(demo(), 128, 7);
  const auto logits = compute_logits(*demo().model, text, 0);
  double nll = 0;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    const auto row = std::span<const float>(logits).subspan(i * 8192, 8192);
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit));
    nll += std::log(sum) - static_cast<double>(row[static_cast<std::size_t>(text[i + 1])]);
  }
  EXPECT_LT(nll / 127, 6.0);  // chance is ln 8192 = 9.0
}

// ---- Loading

TEST(LoadModel, BringsModelAndTokenizerTogether) {
  EXPECT_EQ(demo().model->config().vocabulary, 8192);
  EXPECT_LE(demo().tokenizer->vocabulary_size(), 8192u);
  EXPECT_ERROR(load_model("/nonexistent/model"), "/nonexistent/model");
}

TEST(LoadModel, RefusesATokenizerLargerThanTheEmbedding) {
  test::TemporaryFolder folder;
  std::filesystem::copy(test::demo_model(), folder.path(), std::filesystem::copy_options::recursive);
  // A token beyond the last row of the embedding.
  Json tokenizer = read_json_file(folder.file("tokenizer.json"));
  tokenizer["added_tokens"].push_back({{"id", 8192},
                                       {"content", "<|extra|>"},
                                       {"special", true},
                                       {"single_word", false},
                                       {"lstrip", false},
                                       {"rstrip", false},
                                       {"normalized", false}});
  test::write_bytes(folder.file("tokenizer.json"), tokenizer.dump());
  EXPECT_ERROR(load_model(folder.path().string()), "8193", "8192", "tokenizer");
}

}  // namespace
}  // namespace assay
