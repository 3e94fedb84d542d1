#pragma once
// Models whose logits the test chooses: a hidden row is the token just read and the one before, logits a
// function.
#include <functional>
#include <map>
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
  const Ops& ops() const override { return cpu_ops(); }
  void embed(std::span<const Chunk>, const Rows&) const override {}
  void forward_block(int, std::span<const Chunk>, const Rows&, Workspace&) const override {}
  void final_norm(const Rows&) const override {}
  Rows forward(std::span<const Chunk> batch, Workspace& workspace) const override {
    std::size_t tokens = 0;
    for (const Chunk& chunk : batch) tokens += chunk.tokens.size();
    const Rows hidden = workspace.take(Element::f32, tokens, static_cast<std::size_t>(config_.hidden));
    std::size_t at = 0;
    for (const Chunk& chunk : batch) {
      // What the sequence said so far; a state that starts anew is another sequence.
      std::vector<std::int32_t>& history = histories_[chunk.state];
      history.resize(static_cast<std::size_t>(chunk.state->length()));
      chunk.state->reserve(static_cast<int>(chunk.tokens.size()));
      for (const std::int32_t token : chunk.tokens) {
        history.push_back(token);
        ops().write(rule_(history), hidden.range(at++, 1));
      }
      chunk.state->commit(static_cast<int>(chunk.tokens.size()));
    }
    return hidden;
  }
  Rows logits(const Rows& hidden, Workspace&) const override { return hidden; }
  std::vector<std::string> kernel_report() const override { return {"fake"}; }
  double linear_flops_per_token() const override { return 1000; }
  double head_flops_per_token() const override { return 100; }

 private:
  ModelConfig config_;
  LogitRule rule_;
  mutable std::map<const SequenceState*, std::vector<std::int32_t>> histories_;
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
