#include "assay/model/model.h"

#include <fmt/core.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/attention.h"
#include "assay/model/block.h"
#include "assay/model/checksums.h"
#include "assay/model/config_spellings.h"
#include "assay/model/delta_net.h"
#include "assay/model/mixture.h"
#include "assay/model/mlp.h"
#include "assay/model/roles.h"
#include "assay/model/rope.h"
#include "assay/model/weights.h"

namespace assay {

namespace {

/// Embedding, blocks of a mixer and a feed-forward as the config composes them, final norm, head.
class Transformer final : public Model {
 public:
  Transformer(ModelConfig config, WeightLoader& loader, const LoadOptions& options);

  const ModelConfig& config() const override { return config_; }
  const Ops& ops() const override { return ops_; }
  void embed(std::span<const Chunk> chunks, const Rows& hidden) const override;
  void forward_block(int block, std::span<const Chunk> chunks, const Rows& hidden,
                     Workspace& workspace) const override;
  void final_norm(const Rows& hidden) const override {
    ops_.rms_norm(hidden, *final_norm_, config_.norm_epsilon, hidden);
  }
  Rows forward(std::span<const Chunk> chunks, Workspace& workspace) const override;
  Rows logits(const Rows& hidden, Workspace& workspace) const override;
  std::vector<std::string> kernel_report() const override { return kernel_report_; }
  double linear_flops_per_token() const override;
  double head_flops_per_token() const override { return 2.0 * config_.hidden * config_.vocabulary; }

 private:
  Batch lay_out(std::span<const Chunk> chunks, Workspace& workspace) const;
  void run_block(const Block& block, const Batch& batch, const Rows& hidden, Workspace& workspace) const;
  std::size_t width() const { return static_cast<std::size_t>(config_.hidden); }

  const Ops& ops_;
  ModelConfig config_;
  std::shared_ptr<ExpertSource> expert_source_;  // outlives the blocks
  std::vector<double> frequencies_;
  std::shared_ptr<const Linear> embedding_, head_;  // the same matrix when tied
  std::vector<Block> blocks_;
  VectorPtr final_norm_;
  std::vector<std::string> kernel_report_;
};

Transformer::Transformer(ModelConfig config, WeightLoader& loader, const LoadOptions& options)
    : ops_(loader.ops()),
      config_(std::move(config)),
      expert_source_(options.experts),
      frequencies_(rope_frequencies(config_.rotary_dim, config_.rope_theta, config_.rope_scaling)) {
  const auto hidden = static_cast<std::uint64_t>(config_.hidden);
  const auto vocabulary = static_cast<std::uint64_t>(config_.vocabulary);
  const std::string embedding = loader.prefix() + "embed_tokens.weight";
  embedding_ = loader.matrix(embedding, vocabulary, hidden);
  // Multimodal checkpoints keep the head under one of the prefixes, all others at the top.
  std::string head = "lm_head.weight";
  for (const char* prefix : {"language_model.", "model.language_model.", "language_model.model.", "model."})
    if (!loader.has(head) && loader.has(prefix + std::string("lm_head.weight")))
      head = prefix + std::string("lm_head.weight");
  if (!config_.tied_head)
    head_ = loader.matrix(head, vocabulary, hidden);
  else if (head_ = embedding_; loader.has(head))
    loader.take_duplicate(head, embedding);

  for (int layer = 0; layer < config_.layers; ++layer) {
    const std::string module = fmt::format("{}layers.{}", loader.prefix(), layer);
    Block block;
    const BlockConfig& kind = config_.blocks[static_cast<std::size_t>(layer)];
    block.mixer_norm = loader.norm(module + ".input_layernorm.weight", hidden, config_.shifted_norms);
    if (kind.mixer == MixerKind::attention)
      block.mixer = std::make_unique<Attention>(config_, loader, module + ".self_attn", layer);
    else
      block.mixer = std::make_unique<DeltaNet>(config_, loader, module + ".linear_attn", layer);
    block.feed_forward_norm =
        loader.norm(module + ".post_attention_layernorm.weight", hidden, config_.shifted_norms);
    if (kind.feed_forward == FeedForwardKind::dense)
      block.feed_forward = std::make_unique<DenseMlp>(config_, loader, module + ".mlp");
    else
      block.feed_forward =
          std::make_unique<MixtureOfExperts>(config_, loader, module + ".mlp", layer, expert_source_.get());
    blocks_.push_back(std::move(block));
  }
  final_norm_ = loader.norm(loader.prefix() + "norm.weight", hidden, config_.shifted_norms);
  loader.finish();
  kernel_report_ = loader.report();
}

Batch Transformer::lay_out(std::span<const Chunk> chunks, Workspace& workspace) const {
  std::size_t filled = 0, tokens = 0;
  for (const Chunk& chunk : chunks) {
    assert(std::ranges::count(chunks, chunk.state, &Chunk::state) == 1);
    if (chunk.tokens.empty()) continue;
    for (const std::int32_t token : chunk.tokens)
      if (token < 0 || token >= config_.vocabulary)
        fail("token id {} is not in the vocabulary (0..{})", token, config_.vocabulary - 1);
    ++filled;
    tokens += chunk.tokens.size();
  }
  const auto states = workspace.take_array<SequenceState*>(filled);
  const auto laid_out = workspace.take_array<LayerChunk>(filled);
  const auto positions = workspace.take_array<std::size_t>(tokens);
  std::size_t at = 0, row = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.tokens.empty()) continue;
    const auto start = static_cast<std::size_t>(chunk.state->length());
    states[at] = chunk.state;
    laid_out[at++] = {nullptr, start, chunk.tokens.size(), row};
    for (std::size_t i = 0; i < chunk.tokens.size(); ++i) positions[row++] = start + i;
  }
  for (const Chunk& chunk : chunks) chunk.state->reserve(static_cast<int>(chunk.tokens.size()));
  const Rows angles = workspace.take(ops_.element(), tokens, 2 * frequencies_.size());
  ops_.rope_angles(frequencies_, positions, angles);
  return {states, laid_out, tokens, angles};
}

void Transformer::embed(std::span<const Chunk> chunks, const Rows& hidden) const {
  std::size_t row = 0;
  for (const Chunk& chunk : chunks) {
    assert(std::ranges::all_of(chunk.tokens, [&](auto id) { return id >= 0 && id < config_.vocabulary; }) &&
           "callers check ids against the vocabulary");
    ops_.embedding(*embedding_, chunk.tokens, hidden.range(row, chunk.tokens.size()));
    row += chunk.tokens.size();
  }
}

void Transformer::run_block(const Block& block, const Batch& batch, const Rows& hidden,
                            Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  // A mixer and a feed-forward may write over what they read.
  const Rows scratch = workspace.take(ops_.element(), hidden.count(), hidden.width());
  ops_.rms_norm(hidden, *block.mixer_norm, config_.norm_epsilon, scratch);
  block.mixer->forward(batch, scratch, scratch, workspace);
  ops_.add(hidden, scratch);
  ops_.rms_norm(hidden, *block.feed_forward_norm, config_.norm_epsilon, scratch);
  block.feed_forward->forward(scratch, scratch, workspace);
  ops_.add(hidden, scratch);
}

void Transformer::forward_block(int block, std::span<const Chunk> chunks, const Rows& hidden,
                                Workspace& workspace) const {
  const Workspace::Scope scope(workspace);
  run_block(blocks_[static_cast<std::size_t>(block)], lay_out(chunks, workspace), hidden, workspace);
}

Rows Transformer::forward(std::span<const Chunk> chunks, Workspace& workspace) const {
  std::size_t tokens = 0;
  for (const Chunk& chunk : chunks) tokens += chunk.tokens.size();
  Rows hidden = workspace.take(ops_.element(), tokens, width());
  const Workspace::Scope scope(workspace);
  const Batch batch = lay_out(chunks, workspace);
  embed(chunks, hidden);
  for (const Block& block : blocks_) run_block(block, batch, hidden, workspace);
  final_norm(hidden);
  batch.commit();
  return hidden;
}

Rows Transformer::logits(const Rows& hidden, Workspace& workspace) const {
  assert(hidden.width() == width());
  Rows out = workspace.take(ops_.element(), hidden.count(), static_cast<std::size_t>(config_.vocabulary));
  const Linear* head = head_.get();
  if (hidden.count() > 0) ops_.linear_group({&head, 1}, hidden, {&out, 1});
  return out;
}

double Transformer::linear_flops_per_token() const {
  double flops = 0;
  for (const Block& block : blocks_)
    flops += block.mixer->flops_per_token() + block.feed_forward->flops_per_token();
  return flops;
}

/// MLX adds the 1 of shifted norms to what it stores; it also turns convolutions, which is how to tell.
bool norms_hold_their_gain(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.tensors, is_turned_convolution);
}

}  // namespace

ModelConfig model_config_of(const Checkpoint& checkpoint) {
  const std::optional<Json> generation = generation_config_of(checkpoint);
  ModelConfig config =
      parse_model_config(checkpoint.config, generation ? &*generation : nullptr, checkpoint.path);
  if (norms_hold_their_gain(checkpoint)) config.shifted_norms = false;
  return config;
}

namespace {

void set_active_experts(ModelConfig& config, int active, const std::string& origin) {
  MixtureConfig& mixture = config.mixture;
  if (mixture.experts == 0) fail("{}: a dense model has no experts to choose {} of", origin, active);
  if (active < 1 || active > mixture.experts)
    fail("{}: {} active experts of a token, 1 to {} expected", origin, active, mixture.experts);
  mixture.active = active;
}

}  // namespace

std::shared_ptr<const Model> Model::load(CheckpointPtr checkpoint, const LoadOptions& options) {
  const ThreadScope threads(options.context.threads);
  ModelConfig config = model_config_of(*checkpoint);
  if (options.experts && config.mixture.experts == 0)
    fail("{}: a dense model has no experts to keep on disk", checkpoint->path);
  if (options.active_experts != 0) set_active_experts(config, options.active_experts, checkpoint->path);
  LinearOptions linear = options.linear;
  linear.residency = resolve_residency(linear.residency, *checkpoint, options.experts != nullptr);
  // With a factory: one of many passes over a checkpoint that was checked before the first.
  if (!options.factory) require_checksums(*checkpoint, options.experts != nullptr);
  WeightLoader loader(std::move(checkpoint), *options.context.ops, linear, options.factory);
  return std::make_shared<Transformer>(std::move(config), loader, options);
}

void forward(const Model& model, std::span<const Chunk> batch, std::vector<float>& hidden) {
  Workspace workspace;
  const Rows rows = model.forward(batch, workspace);
  hidden.resize(rows.size());
  model.ops().read(rows, hidden);
}

void logits(const Model& model, const std::vector<float>& hidden, std::vector<float>& out) {
  Workspace workspace;
  const auto width = static_cast<std::size_t>(model.config().hidden);
  const Rows rows = workspace.take(model.ops().element(), hidden.size() / width, width);
  model.ops().write(hidden, rows);
  const Rows found = model.logits(rows, workspace);
  out.resize(found.size());
  model.ops().read(found, out);
}

}  // namespace assay
