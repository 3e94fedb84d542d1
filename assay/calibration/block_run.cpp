#include "assay/calibration/block_run.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <memory>

#include "assay/kernels/host_rows.h"

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

/// What layers keep of the block at hand only: every window starts from nothing in every block.
class BlockRun::State final : public SequenceState {
 public:
  explicit State(const Model& model) : config_(model.config()) {
    for (int layer = 0; layer < config_.layers; ++layer) {
      const LayerStateShape shape = config_.layer_state(layer);
      std::unique_ptr<LayerState>& state = shape.carried > 0 ? carrying_ : attending_;
      if (!state) state = model.ops().layer_state(shape);
    }
  }
  int length() const override { return 0; }
  void reserve(int count) override {
    if (attending_) attending_->reserve(static_cast<std::size_t>(count));
  }
  void commit(int) override {}
  LayerState& layer(int layer) override {
    return config_.layer_state(layer).carried > 0 ? *carrying_ : *attending_;
  }

 private:
  const ModelConfig& config_;
  std::unique_ptr<LayerState> attending_, carrying_;  // of whichever layer; what is carried stays nothing
};

BlockRun::BlockRun(const Model& model, const CalibrationText& text, MemorySource& memory)
    : model_(model),
      workspace_(memory),
      hidden_(memory, Element::f32, text.tokens(), static_cast<std::size_t>(model.config().hidden)) {
  assert(model.ops().element() == Element::f32);
  states_.reserve(text.windows.size());
  for (const auto& window : text.windows) {
    states_.emplace_back(model);
    batch_.push_back({&states_.back(), window});
  }
}

BlockRun::~BlockRun() = default;

std::span<const float> BlockRun::hidden() const {
  return host_values<float>(hidden_.rows());
}

void BlockRun::start() {
  model_.embed(batch_, hidden_.rows());
}

void BlockRun::start_at(std::span<const float> hidden) {
  assert(hidden.size() == hidden_.rows().size());
  model_.ops().write(hidden, hidden_.rows());
}

void BlockRun::forward(int block) {
  model_.forward_block(block, batch_, hidden_.rows(), workspace_);
}

}  // namespace assay
