#include "assay/quantize/block_run.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace assay {
namespace {

std::uint64_t content_hash(std::span<const float> x) {
  std::uint64_t lanes[4] = {1, 2, 3, 4};
  for (std::size_t i = 0; i < x.size(); ++i)
    lanes[i % 4] = (lanes[i % 4] ^ std::bit_cast<std::uint32_t>(x[i])) * 0x9e3779b97f4a7c15u;
  return (lanes[0] * 31 + lanes[1]) * 961 + lanes[2] * 31 + lanes[3];
}

}  // namespace

const Hessian& HessianCache::of(std::span<const float> x, std::size_t tokens, std::size_t columns) {
  const std::uint64_t hash = content_hash(x);
  if (hessian_.columns != columns || hessian_.tokens != tokens || hash != hash_)
    hessian_ = make_hessian(x, tokens, columns);
  hash_ = hash;
  return hessian_;
}

/// Keys and values, or what is carried, of the block at hand only: every window starts from nothing in every
/// block.
class BlockRun::State final : public SequenceState {
 public:
  explicit State(const ModelConfig& config)
      : width_(static_cast<std::size_t>(config.kv_heads) * static_cast<std::size_t>(config.head_dim)),
        nothing_(config.carry_floats(MixerKind::delta_net)),
        after_(nothing_.size()) {}
  int length() const override { return 0; }
  void reserve(int count) override {
    keys_.resize(static_cast<std::size_t>(count) * width_);
    values_.resize(keys_.size());
  }
  void commit(int) override {}
  std::span<float> keys(int) override { return keys_; }
  std::span<float> values(int) override { return values_; }
  Carry carry(int) override { return {nothing_, after_}; }

 private:
  std::size_t width_;
  std::vector<float> keys_, values_;
  std::vector<float> nothing_, after_;  // zeros, and what nobody reads
};

BlockRun::BlockRun(const Model& model, const CalibrationText& text)
    : model_(model), hidden_(text.tokens() * static_cast<std::size_t>(model.config().hidden)) {
  states_.reserve(text.windows.size());
  for (const auto& window : text.windows) {
    states_.emplace_back(model.config());
    batch_.push_back({&states_.back(), window});
  }
}

BlockRun::~BlockRun() = default;

void BlockRun::start() {
  model_.embed(batch_, hidden_);
}

void BlockRun::start_at(std::span<const float> hidden) {
  assert(hidden.size() == hidden_.size());
  std::ranges::copy(hidden, hidden_.data());
}

void BlockRun::forward(int block) {
  model_.forward_block(block, batch_, hidden_);
}

}  // namespace assay
