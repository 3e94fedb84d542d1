#pragma once
// A model with its tokenizer, opened once; sequences with a KV cache; generation.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "assay/model/model.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// A checkpoint opened for running.
struct LoadedModel {
  CheckpointPtr checkpoint;
  ModelPtr model;
  TokenizerPtr tokenizer;
};
LoadedModel load_model(const std::string& path, const LoadOptions& options = {});

/// Keys and values in f32, grown in steps; refuses to grow past the config's max positions.
std::unique_ptr<SequenceState> make_sequence_state(const ModelConfig& config);

struct SamplingOptions {
  double temperature = 0;   // 0: greedy, ties to the lowest id
  int top_k = 0;            // 0: off
  double top_p = 1;
  std::uint64_t seed = 0;
};

struct GenerateOptions {
  int max_tokens = 256;
  SamplingOptions sampling;
  bool stop_at_end_token = true;
};

struct GeneratedToken {
  TokenId id;
  float margin;             // top-1 minus top-2 logit
};

/// Prefills the prompt and generates; `on_token` (may be empty) sees each token as it comes and stops with false.
std::vector<GeneratedToken> generate(const Model& model, std::span<const TokenId> prompt,
                                     const GenerateOptions& options,
                                     const std::function<bool(const GeneratedToken&)>& on_token = {});

/// Logits [positions, vocabulary] of the last `last` positions of ids (0 = all), one prefill.
std::vector<float> compute_logits(const Model& model, std::span<const TokenId> ids, std::size_t last);

/// Text sampled from the model itself (temperature 1), documents ended by its end token: `tokens` ids in all.
/// Deterministic in seed. Batched: several sequences advance in lockstep.
std::vector<TokenId> sample_self_text(const LoadedModel& model, std::size_t tokens, std::uint64_t seed);

}  // namespace assay
