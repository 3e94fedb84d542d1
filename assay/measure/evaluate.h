#pragma once
// Runs models over a tokenised text with a perplexity protocol: loss of every scored token and, with a
// reference in lockstep over the same windows, the divergence from it. Logits exist only for scored
// positions, slice by slice.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/measure/windows.h"
#include "assay/model/model.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

enum class EvaluationMode {
  prefill,  // a window is one chunk; several windows a batch
  decode    // token by token through the KV cache; many windows advance in lockstep
};
std::string_view mode_name(EvaluationMode mode);

struct EvaluateOptions {
  WindowOptions windows;
  EvaluationMode mode = EvaluationMode::prefill;
  std::size_t batch =
      0;  // windows a batch; 0: 8 prefilling, 64 decoding, fewer where a model's KV cache is large
  /// Put in the place of the first token of every window: chunks of a model that wants BOS begin with it.
  std::optional<TokenId> chunk_start = {};
};

/// Distances of one model from the reference, one entry a scored token.
struct Divergence {
  std::vector<double> kl;              // nats
  std::vector<double> delta_p;         // p_test(target) - p_reference(target)
  std::vector<std::uint8_t> same_top;  // both put the same token first (ties: lowest id)
  std::vector<std::uint8_t> lost;      // the reference's first choice was right, the test's wrong
  std::vector<std::uint8_t> gained;    // the reverse
};

/// One model's losses over the text.
struct ModelLosses {
  std::vector<double> nll;               // nats, one entry a scored token, in text order
  std::optional<Divergence> divergence;  // for every model but the reference
  double nll_sum = 0;                    // summed in text order: independent of thread count and batch
  double seconds = 0;                    // in this model's forward passes and scoring
  double flops = 0;                      // linear layers, attention products and head

  double nll_mean() const { return nll_sum / static_cast<double>(nll.size()); }
  double perplexity() const;
};

struct Evaluation {
  std::vector<Window> windows;
  std::vector<std::size_t> targets;  // index in the text of every scored token, ascending
  std::size_t tokens_run = 0;        // inputs of all windows: what tokens/s counts
  std::optional<ModelLosses> reference;
  std::vector<ModelLosses> models;
};

/// One model to run, with the name that messages use.
struct EvaluatedModel {
  const Model* model = nullptr;
  std::string name;
};

/// Runs all models (and `reference`, when there is one) over the same windows in lockstep. Throws Error for
/// token ids or vocabularies that do not fit, and for logits that are not finite.
Evaluation evaluate(std::span<const EvaluatedModel> models, const std::optional<EvaluatedModel>& reference,
                    std::span<const TokenId> tokens, const EvaluateOptions& options,
                    const Context& context = {});

}  // namespace assay
