// Sequences that join, leave, share and fail together say what each would alone.
#include "assay/runtime/engine.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/runtime/session.h"
#include "tests/support.h"

namespace assay {
namespace {

const Model& demo_model_loaded() {
  static const LoadedModel model = load_model(test::demo_model());
  return *model.model;
}

/// Feeds a prompt, then its own most likely tokens, `wanted` in all; keeps them.
class Greedy final : public SequenceClient {
 public:
  Greedy(std::vector<TokenId> prompt, std::size_t wanted) : prompt_(std::move(prompt)), wanted_(wanted) {}
  Feed next() override {
    ++asked;
    if (said.size() == wanted_) return {};
    return {said.empty() ? std::span<const TokenId>(prompt_) : std::span(&said.back(), 1), true};
  }
  void take_logits(std::span<const float> logits) override { said.push_back(top_two(logits).best); }

  std::vector<TokenId> said;
  int asked = 0;

 private:
  std::vector<TokenId> prompt_;
  std::size_t wanted_;
};

std::vector<TokenId> prompt_of(int seed, std::size_t tokens) {
  std::vector<TokenId> prompt;
  for (std::size_t i = 0; i < tokens; ++i)
    prompt.push_back(static_cast<TokenId>((seed * 31 + static_cast<int>(i) * 37) % 8000));
  return prompt;
}

std::vector<TokenId> alone(const std::vector<TokenId>& prompt, int tokens) {
  std::vector<TokenId> said;
  for (const GeneratedToken& token :
       generate(demo_model_loaded(), prompt, {.max_tokens = tokens, .stop_at_end_token = false}))
    said.push_back(token.id);
  return said;
}

TEST(Engine, SequencesJoinAndLeaveBetweenSteps) {
  Workspace workspace;
  Engine engine(demo_model_loaded(), workspace, {.piece = 5});
  Greedy one(prompt_of(1, 12), 7), two(prompt_of(2, 3), 3), three(prompt_of(3, 8), 4);
  engine.submit(one);
  EXPECT_TRUE(engine.step());
  engine.submit(two);  // while the first is amid its prompt
  EXPECT_TRUE(engine.step());
  EXPECT_TRUE(one.said.empty());
  EXPECT_EQ(two.said.size(), 1u);
  engine.submit(three);
  engine.run();
  EXPECT_FALSE(engine.step());
  EXPECT_EQ(one.said, alone(prompt_of(1, 12), 7));
  EXPECT_EQ(two.said, alone(prompt_of(2, 3), 3));
  EXPECT_EQ(three.said, alone(prompt_of(3, 8), 4));
  EXPECT_EQ(engine.shared_tokens(), 0u);
}

TEST(Engine, OneThatIsCancelledIsNotAskedAgain) {
  Workspace workspace;
  Engine engine(demo_model_loaded(), workspace);
  Greedy stays(prompt_of(1, 4), 5), goes(prompt_of(2, 4), 5);
  engine.submit(stays);
  const Engine::Id id = engine.submit(goes);
  EXPECT_TRUE(engine.step());
  EXPECT_TRUE(engine.step());
  engine.cancel(id);
  engine.run();
  engine.cancel(id);
  EXPECT_EQ(goes.said.size(), 2u);
  EXPECT_EQ(goes.asked, 2);
  EXPECT_EQ(stays.said, alone(prompt_of(1, 4), 5));
}

// One more token of the prompt is the same as none: the last is computed for its logits.
TEST(Engine, APrefixThatALivingSequenceHasIsNotComputedAgain) {
  const std::vector<TokenId> system = prompt_of(7, 40);
  const auto with = [&](std::vector<TokenId> more) {
    std::vector<TokenId> prompt = system;
    prompt.insert(prompt.end(), more.begin(), more.end());
    return prompt;
  };
  Workspace workspace;
  Engine engine(demo_model_loaded(), workspace);
  Greedy first(system, 12), longer(with({5, 6, 7}), 3), same(system, 3), other(prompt_of(8, 40), 3);
  engine.submit(first);
  EXPECT_TRUE(engine.step());
  engine.submit(longer);
  engine.submit(same);
  engine.submit(other);
  engine.run();
  EXPECT_EQ(engine.shared_tokens(), 40u + 39u);
  EXPECT_EQ(first.said, alone(system, 12));
  EXPECT_EQ(longer.said, alone(with({5, 6, 7}), 3));
  EXPECT_EQ(same.said, alone(system, 3));
  EXPECT_EQ(other.said, alone(prompt_of(8, 40), 3));
}

TEST(Engine, AStepThatFailsLeavesTheSequencesAsTheyWere) {
  Workspace workspace;
  Engine engine(demo_model_loaded(), workspace);
  Greedy good(prompt_of(1, 6), 4), bad({1, 2, 1 << 20}, 4);
  engine.submit(good);
  EXPECT_TRUE(engine.step());
  const Engine::Id id = engine.submit(bad);
  EXPECT_ERROR(engine.step(), "token id 1048576");
  engine.cancel(id);
  engine.run();
  EXPECT_TRUE(bad.said.empty());
  EXPECT_EQ(good.said, alone(prompt_of(1, 6), 4));
}

/// Throws at its second logits.
class Faulty final : public SequenceClient {
 public:
  Feed next() override { return {{&token_, 1}, true}; }
  void take_logits(std::span<const float>) override {
    if (++taken == 2) fail("enough");
  }
  int taken = 0;

 private:
  TokenId token_ = 5;
};

TEST(Engine, AClientThatThrowsLeavesAloneAndTheOthersAreServed) {
  Workspace workspace;
  Engine engine(demo_model_loaded(), workspace);
  Greedy before(prompt_of(1, 6), 5), after(prompt_of(2, 6), 5);
  Faulty faulty;
  engine.submit(before);
  engine.submit(faulty);
  engine.submit(after);
  EXPECT_TRUE(engine.step());
  EXPECT_ERROR(engine.step(), "enough");
  EXPECT_EQ(after.said.size(), 2u);
  engine.run();
  EXPECT_EQ(faulty.taken, 2);
  EXPECT_EQ(before.said, alone(prompt_of(1, 6), 5));
  EXPECT_EQ(after.said, alone(prompt_of(2, 6), 5));
}

}  // namespace
}  // namespace assay
