#pragma once
// A model with its tokenizer, opened once; sequences with a KV cache; generation.
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "assay/model/model.h"
#include "assay/runtime/expert_store.h"
#include "assay/runtime/sampling.h"
#include "assay/runtime/sequence_memory.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// A checkpoint opened for running.
struct LoadedModel {
  CheckpointPtr checkpoint;
  ModelPtr model;
  TokenizerPtr tokenizer;
  std::shared_ptr<ExpertStore> experts = {};  // of LoadOptions, for its statistics; null: all in memory
  Context context = {};                       // of LoadOptions: of all that is done with the model
};
/// `config_directory` holds config and tokenizer for lattice folders that lack them. Throws Error, also when
/// the tokenizer has ids that the embedding does not.
LoadedModel load_model(const std::string& path, const LoadOptions& options = {},
                       const std::string& config_directory = "");

/// Keys and values, grown in steps, and what delta nets carry; refuses to grow past the config's max
/// positions.
std::unique_ptr<SequenceState> make_sequence_state(const Model& model);

struct GenerateOptions {
  int max_tokens = 256;
  SamplingOptions sampling = {};
  bool stop_at_end_token = true;
};

struct GeneratedToken {
  TokenId id;
  float margin;  // top-1 minus top-2 logit
};

/// Sees each token as it comes; stops the generation with false.
using TokenCallback = std::function<bool(const GeneratedToken&)>;

/// Prefills the prompt and generates up to max_tokens. An end token is the last one generated: it is
/// returned. Throws Error when prompt and tokens together exceed the model's positions, before anything is
/// computed.
std::vector<GeneratedToken> generate(const Model& model, std::span<const TokenId> prompt,
                                     const GenerateOptions& options, const TokenCallback& on_token = {},
                                     const Context& context = {});

/// A conversation: a sequence whose keys and values are kept from one call to the next, with snapshots of
/// what delta nets carried at the ends of its last prompts.
class Session {
 public:
  explicit Session(const Model& model, const Context& context = {});  // the model must outlive the session

  /// As the free function; only what `prompt` adds to the tokens already held is computed. A prompt that
  /// leaves them goes back to where it does, or with delta nets to the last snapshot before.
  std::vector<GeneratedToken> generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                                       const TokenCallback& on_token = {});
  /// Prompt tokens that the last call did not have to compute.
  std::size_t reused() const { return reused_; }

 private:
  class Generation;
  void keep_snapshot();
  void return_to_common_prefix(std::span<const TokenId> prompt);

  const Model& model_;
  int threads_;
  SequenceMemory state_;
  Workspace workspace_;
  std::vector<TokenId> held_;                       // the tokens of state_
  std::deque<SequenceMemory::Snapshot> snapshots_;  // by growing length; empty where state_ can rewind
  std::size_t reused_ = 0;
};

/// Logits [positions, vocabulary] of the last `last` positions of ids (0 = all), one prefill.
std::vector<float> compute_logits(const Model& model, std::span<const TokenId> ids, std::size_t last,
                                  const Context& context = {});

/// Text sampled from the model itself (temperature 1), documents ended by its end token: `tokens` ids in all.
/// Deterministic in seed. Batched: several sequences advance in lockstep. Throws Error for a model without an
/// end token: there would be nothing to start from. `sequence`: tokens of a document; with a
/// fixed one more tokens continue fewer (0: little text is spread over short documents).
std::vector<TokenId> sample_self_text(const LoadedModel& model, std::size_t tokens, std::uint64_t seed,
                                      std::size_t sequence = 0);

}  // namespace assay
