#pragma once
// A batch as the blocks see it: the tokens of all chunks behind one another, and where each chunk's rows
// begin.
#include <cstddef>
#include <vector>

#include "assay/model/rope.h"
#include "assay/model/sequence_state.h"

namespace assay {

struct BatchChunk {
  SequenceState* state;   // has room for `count` more tokens
  std::size_t start;      // position of the chunk's first token in its sequence
  std::size_t count;      // tokens
  std::size_t first_row;  // row of its first token in the batch
};

struct Batch {
  std::vector<BatchChunk> chunks;
  std::size_t tokens = 0;  // rows in all
  RopeAngles angles;       // one row per token
};

}  // namespace assay
