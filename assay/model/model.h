#pragma once
// The forward pass on a backend (kernels/ops.h). A batch is a list of chunks: each appends tokens to one
// sequence. Prefill of many windows, decoding of many sequences in lockstep and a single chat are all the
// same call.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "assay/kernels/context.h"
#include "assay/model/config.h"
#include "assay/model/experts.h"
#include "assay/model/sequence_state.h"
#include "assay/model/weights.h"
#include "assay/storage/checkpoint.h"

namespace assay {

struct Chunk {
  SequenceState* state;  // grows by tokens.size()
  std::span<const std::int32_t> tokens;
};

/// The config of a checkpoint, generation_config.json and what the stored tensors say of norms included.
/// Throws Error.
ModelConfig model_config_of(const Checkpoint& checkpoint);

struct LoadOptions {
  LinearOptions linear;                        // which kernel holds the matrices
  LinearFactory factory = {};                  // empty: the kernels that `linear` asks for
  std::shared_ptr<ExpertSource> experts = {};  // who fetches experts; null: they are in memory like all else
  int active_experts = 0;                      // experts that a token visits; 0: as many as the config says
  Context context = {};
};

class Model {
 public:
  /// Checks every tensor's presence and shape against the config. Throws Error.
  static std::shared_ptr<const Model> load(CheckpointPtr checkpoint, const LoadOptions& options = {});
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const Ops& ops() const = 0;
  /// The steps of forward(), for who stops between blocks: hidden rows [total tokens, hidden] of the
  /// embedding, and one block over them in place. What layers keep is written behind each state's length,
  /// which only forward() moves on.
  virtual void embed(std::span<const Chunk> batch, const Rows& hidden) const = 0;
  virtual void forward_block(int block, std::span<const Chunk> batch, const Rows& hidden,
                             Workspace& workspace) const = 0;
  virtual void final_norm(const Rows& hidden) const = 0;  // in place
  /// Hidden rows after the final norm, [total tokens, hidden], chunks in order, taken from the workspace.
  virtual Rows forward(std::span<const Chunk> batch, Workspace& workspace) const = 0;
  /// Logits [rows, vocabulary] of hidden rows [rows, hidden], taken from the workspace.
  virtual Rows logits(const Rows& hidden, Workspace& workspace) const = 0;
  /// One line per kernel in use: "khq4: decoded to f32, OpenBLAS (42 matrices)".
  virtual std::vector<std::string> kernel_report() const = 0;
  /// Multiply-add flops per token of the linear layers, head excluded / of the head: for rate reports.
  virtual double linear_flops_per_token() const = 0;
  virtual double head_flops_per_token() const = 0;
};
using ModelPtr = std::shared_ptr<const Model>;

/// forward() and logits() for who keeps values and not rows: copies, in memory of their own.
void forward(const Model& model, std::span<const Chunk> batch, std::vector<float>& hidden);
void logits(const Model& model, const std::vector<float>& hidden, std::vector<float>& out);

}  // namespace assay
