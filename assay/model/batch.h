#pragma once
// A batch as the blocks see it: the tokens of all chunks behind one another, and where each chunk's rows
// begin. It lives in the workspace of its pass.
#include <cstddef>
#include <span>

#include "assay/kernels/rows.h"
#include "assay/model/sequence_state.h"

namespace assay {

class Batch {
 public:
  /// `states` and `chunks` are of equal length; the chunks' own states are filled in here.
  Batch(std::span<SequenceState* const> states, std::span<LayerChunk> chunks, std::size_t tokens,
        const Rows& angles)
      : states_(states), chunks_(chunks), tokens_(tokens), angles_(angles) {}

  std::size_t tokens() const { return tokens_; }
  const Rows& angles() const { return angles_; }  // of rotary positions, one row per token
  /// The chunks with what `layer` keeps of their sequences; good until the next call.
  std::span<const LayerChunk> at(int layer) const {
    for (std::size_t i = 0; i < chunks_.size(); ++i) chunks_[i].state = &states_[i]->layer(layer);
    return chunks_;
  }
  void commit() const {
    for (std::size_t i = 0; i < chunks_.size(); ++i) states_[i]->commit(static_cast<int>(chunks_[i].count));
  }

 private:
  std::span<SequenceState* const> states_;
  std::span<LayerChunk> chunks_;
  std::size_t tokens_;
  Rows angles_;
};

}  // namespace assay
