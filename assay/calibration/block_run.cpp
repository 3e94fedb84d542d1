#include "assay/calibration/block_run.h"

#include <cassert>
#include <memory>

#include "assay/kernels/host_rows.h"

namespace assay {

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
