#pragma once
// Models whose logits the test chooses: a hidden row is the token just read and the one before, logits a
// function.
#include <functional>
#include <memory>
#include <vector>

#include "assay/model/model.h"
#include "assay/parallel/threads.h"

namespace assay::test {

/// Logits of a position from the tokens of its sequence so far (the last entry is the one just read).
using LogitRule = std::function<std::vector<float>(std::span<const std::int32_t> history)>;

class FakeModel : public Model {
 public:
  FakeModel(int vocabulary, LogitRule rule) : rule_(std::move(rule)) {
    config_.vocabulary = vocabulary;
    config_.hidden = vocabulary;  // hidden rows are the logits themselves
    config_.layers = 1;
    config_.blocks.resize(1);
    config_.heads = config_.kv_heads = 1;
    config_.head_dim = 1;
    config_.max_positions = 1 << 20;
  }

  const ModelConfig& config() const override { return config_; }
  void embed(std::span<const Chunk>, std::span<float>) const override {}
  void forward_block(int, std::span<const Chunk>, std::span<float>) const override {}
  void forward(std::span<const Chunk> batch, std::vector<float>& hidden) const override {
    hidden.clear();
    for (const Chunk& chunk : batch) {
      // The cache holds the tokens themselves: one float a position.
      const int count = static_cast<int>(chunk.tokens.size()), held = chunk.state->length();
      chunk.state->reserve(count);
      const auto keys = chunk.state->keys(0);
      std::vector<std::int32_t> history;
      for (int i = 0; i < held; ++i)
        history.push_back(static_cast<std::int32_t>(keys[static_cast<std::size_t>(i)]));
      for (int i = 0; i < count; ++i) {
        keys[static_cast<std::size_t>(held + i)] =
            static_cast<float>(chunk.tokens[static_cast<std::size_t>(i)]);
        history.push_back(chunk.tokens[static_cast<std::size_t>(i)]);
        const std::vector<float> row = rule_(history);
        hidden.insert(hidden.end(), row.begin(), row.end());
      }
      chunk.state->commit(count);
    }
  }
  void logits(std::span<const float> hidden, std::vector<float>& out) const override {
    out.assign(hidden.begin(), hidden.end());
  }
  std::vector<std::string> kernel_report() const override { return {"fake"}; }
  double linear_flops_per_token() const override { return 1000; }
  double head_flops_per_token() const override { return 100; }

 private:
  ModelConfig config_;
  LogitRule rule_;
};

/// One thread within the scope: small work on a busy machine waits longer at barriers than it computes.
class SingleThread {
 public:
  SingleThread() { set_thread_count(1); }
  ~SingleThread() { set_thread_count(0); }
  SingleThread(const SingleThread&) = delete;
  SingleThread& operator=(const SingleThread&) = delete;
};

/// Deterministic noise in [0, 1), the same on every machine.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : state_(seed * 2654435761u + 1) {}
  double uniform() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) * 0x1p-53;
  }
  /// Sum of twelve uniforms: near enough to a normal.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
  int below(int count) { return static_cast<int>(uniform() * count); }

 private:
  std::uint64_t state_;
};

}  // namespace assay::test
