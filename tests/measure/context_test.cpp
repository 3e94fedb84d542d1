// What is done in a context stays in it: threads, who is told, memory.
#include "assay/kernels/context.h"

#include <gtest/gtest.h>

#include <thread>

#include "assay/base/error.h"
#include "assay/measure/evaluate.h"
#include "assay/runtime/session.h"
#include "tests/progress_record.h"
#include "tests/support.h"

namespace assay::test {
namespace {

LoadedModel demo_in(const Context& context) {
  static const LoadedModel demo = load_model(demo_model());
  LoadedModel model = demo;
  model.context = context;
  return model;
}

/// Everything that a run in a context gave, and what its sink was told.
struct Outcome {
  std::vector<TokenId> sampled, generated;
  std::vector<double> nll;
  std::vector<ProgressRecord::Piece> told;
  bool operator==(const Outcome&) const = default;
};

Outcome run_in(Context context, std::size_t tokens) {
  ProgressRecord record;
  context.progress = &record;
  const LoadedModel model = demo_in(context);
  const int threads = thread_count();
  Outcome outcome;
  outcome.sampled = sample_self_text(model, tokens, tokens);
  const std::span prompt = std::span<const TokenId>(outcome.sampled).first(7);
  const auto keep = [&](const GeneratedToken& token) {
    EXPECT_EQ(thread_count(), context.threads);
    outcome.generated.push_back(token.id);
    return true;
  };
  generate(*model.model, prompt, {.max_tokens = 9, .stop_at_end_token = false}, keep, context);
  EvaluateOptions options;
  options.windows = {Protocol::chunked, 64, 0};
  const EvaluatedModel evaluated{model.model.get(), "demo"};
  outcome.nll = evaluate({&evaluated, 1}, std::nullopt, outcome.sampled, options, context).models.front().nll;
  EXPECT_TRUE(record.all_ended());
  EXPECT_EQ(thread_count(), threads);  // as before
  outcome.told = record.ended();
  return outcome;
}

TEST(Contexts, TwoSideBySideGiveWhatEachGivesAlone) {
  const Context one{.threads = 1}, three{.threads = 3};
  const Outcome first = run_in(one, 130), second = run_in(three, 150);
  ASSERT_EQ(first.told.size(), 2u);
  EXPECT_EQ(first.told[0].label, "sampling text from the model");
  EXPECT_EQ(first.told[1].label, "evaluating");
  EXPECT_EQ(first.told[1].done, first.told[1].total);
  EXPECT_EQ(first.told[1].threads, 1);
  EXPECT_EQ(second.told[0].total, 150u);
  EXPECT_EQ(second.told[0].threads, 3);
  EXPECT_EQ(second.told[1].threads, 3);
  for (int round = 0; round < 2; ++round) {
    Outcome beside;
    std::thread other([&] { beside = run_in(three, 150); });
    EXPECT_EQ(run_in(one, 130), first);
    other.join();
    EXPECT_EQ(beside, second);
  }
}

TEST(Contexts, ThreadsOfNoneAreTheCallers) {
  const ThreadScope scope(2);
  EXPECT_EQ(thread_count(), 2);
  {
    const ThreadScope same(0);
    EXPECT_EQ(thread_count(), 2);
    const ThreadScope inner(3);
    EXPECT_EQ(thread_count(), 3);
  }
  EXPECT_EQ(thread_count(), 2);
}

/// The heap, counted.
class CountedMemory final : public MemorySource {
 public:
  std::byte* allocate(std::size_t bytes) override {
    taken += bytes;
    alive += bytes;
    return heap_memory().allocate(bytes);
  }
  void release(std::byte* block, std::size_t bytes) override {
    alive -= bytes;
    heap_memory().release(block, bytes);
  }
  std::atomic<std::uint64_t> taken = 0, alive = 0;
};

TEST(Contexts, ActivationsLieInTheMemoryThatIsHandedIn) {
  const Context heap{.threads = 1};
  const LoadedModel plain = demo_in(heap);
  const auto text = sample_self_text(plain, 200, 4);
  EvaluateOptions options;
  options.windows = {Protocol::chunked, 100, 0};
  const EvaluatedModel evaluated{plain.model.get(), "demo"};
  const auto nll = evaluate({&evaluated, 1}, std::nullopt, text, options, heap).models[0].nll;
  const auto expect_used = [](const auto& work) {
    CountedMemory memory;
    work(Context{.threads = 1, .memory = &memory});
    EXPECT_GT(memory.taken, 0u);
    EXPECT_EQ(memory.alive, 0u);
  };
  expect_used([&](const Context& context) {
    EXPECT_EQ(evaluate({&evaluated, 1}, std::nullopt, text, options, context).models[0].nll, nll);
  });
  expect_used([&](const Context& context) { EXPECT_EQ(sample_self_text(demo_in(context), 200, 4), text); });
  expect_used([&](const Context& context) {
    EXPECT_EQ(compute_logits(*plain.model, std::span(text).first(5), 1, context),
              compute_logits(*plain.model, std::span(text).first(5), 1));
  });
  expect_used([&](const Context& context) {
    EXPECT_EQ(generate(*plain.model, std::span(text).first(5), {.max_tokens = 1}, {}, context)[0].id,
              generate(*plain.model, std::span(text).first(5), {.max_tokens = 1})[0].id);
  });
}

TEST(Contexts, WhatASinkThrowsEndsTheWork) {
  struct Impatient final : ProgressRecord {
    void advance(const Progress& work) override {
      ProgressRecord::advance(work);
      fail("enough of {}", work.label());
    }
  } sink;
  const Context context{.threads = 1, .progress = &sink};
  EXPECT_ERROR(sample_self_text(demo_in(context), 200, 1), "enough of sampling");
  EXPECT_TRUE(sink.all_ended());
}

}  // namespace
}  // namespace assay::test
