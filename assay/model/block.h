#pragma once
// A transformer block: x += mixer(norm1 x); x += feed_forward(norm2 x). A mixer carries information between
// positions (attention, delta nets); a feed-forward works on each position alone (dense MLP, mixture of
// experts). All of them are compositions of operations (kernels/ops.h).
#include <memory>

#include "assay/kernels/ops.h"
#include "assay/kernels/workspace.h"
#include "assay/model/batch.h"

namespace assay {

class Mixer {
 public:
  virtual ~Mixer() = default;
  /// out[tokens, hidden] of x[tokens, hidden], which may be the same memory; appends to the states of the
  /// batch's chunks, does not commit.
  virtual void forward(const Batch& batch, const Rows& x, const Rows& out, Workspace& workspace) const = 0;
  /// Multiply-add flops of its matrices for one token.
  virtual double flops_per_token() const = 0;
};

class FeedForward {
 public:
  virtual ~FeedForward() = default;
  /// out[tokens, hidden] of x[tokens, hidden], which may be the same memory.
  virtual void forward(const Rows& x, const Rows& out, Workspace& workspace) const = 0;
  virtual double flops_per_token() const = 0;
};

struct Block {
  VectorPtr mixer_norm, feed_forward_norm;  // [hidden] each
  std::unique_ptr<Mixer> mixer;
  std::unique_ptr<FeedForward> feed_forward;
};

}  // namespace assay
