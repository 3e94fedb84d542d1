#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/runtime/engine.h"
#include "assay/runtime/session.h"

namespace assay {

namespace {

constexpr std::size_t kSnapshots = 4;

bool is_end_token(const ModelConfig& config, TokenId id) {
  return std::find(config.end_tokens.begin(), config.end_tokens.end(), id) != config.end_tokens.end();
}

void check_room(const ModelConfig& config, std::size_t prompt, const GenerateOptions& options) {
  if (prompt == 0) fail("the prompt has no tokens, expected at least one");
  if (options.max_tokens < 0) fail("max-tokens is {}, expected 0 or more", options.max_tokens);
  // The last token generated is never fed back.
  const std::uint64_t needed = prompt + static_cast<std::uint64_t>(std::max(options.max_tokens, 1)) - 1;
  if (needed > static_cast<std::uint64_t>(config.max_positions))
    fail(
        "a prompt of {} tokens and {} new ones need {} positions, the model holds {}: shorten the prompt or "
        "lower "
        "max-tokens",
        prompt, options.max_tokens, needed, config.max_positions);
}

}  // namespace

Session::Session(const Model& model, const Context& context)
    : model_(model),
      threads_(context.threads),
      state_(model.config(), model.ops()),
      workspace_(context.activations()) {}

/// One generation: the prompt, then what is drawn, token by token.
class Session::Generation final : public SequenceClient {
 public:
  Generation(Session& session, std::span<const TokenId> prompt, const GenerateOptions& options,
             const TokenCallback& on_token)
      : session_(session),
        feed_(prompt),
        options_(options),
        on_token_(on_token),
        sampler_(options.sampling) {}

  Feed next() override {
    if (ended_) return {};
    session_.held_.insert(session_.held_.end(), feed_.begin(), feed_.end());
    return {feed_, true};
  }
  void take_logits(std::span<const float> logits) override {
    if (generated_.empty()) session_.keep_snapshot();
    ended_ = true;
    const auto wanted = static_cast<std::size_t>(options_.max_tokens);
    if (generated_.size() == wanted) return;
    const Pick pick = sampler_.pick(logits);
    generated_.push_back({pick.id, pick.margin});
    const GeneratedToken& token = generated_.back();
    if (on_token_ && !on_token_(token)) return;
    if (options_.stop_at_end_token && is_end_token(session_.model_.config(), token.id)) return;
    latest_ = token.id;
    feed_ = {&latest_, 1};
    ended_ = generated_.size() == wanted;
  }
  std::vector<GeneratedToken> take() { return std::move(generated_); }

 private:
  Session& session_;
  std::span<const TokenId> feed_;
  const GenerateOptions& options_;
  const TokenCallback& on_token_;
  Sampler sampler_;
  TokenId latest_ = 0;
  bool ended_ = false;
  std::vector<GeneratedToken> generated_;
};

/// Forgets what the prompt does not begin with.
void Session::return_to_common_prefix(std::span<const TokenId> prompt) {
  // At least the last prompt token must be computed: its logits are not kept.
  const auto longest = std::min(held_.size(), prompt.size() - 1);
  auto common = static_cast<std::size_t>(
      std::mismatch(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(longest), prompt.begin())
          .first -
      held_.begin());
  if (common == held_.size()) return;
  if (state_.can_rewind()) {
    state_.rewind(static_cast<int>(common));
  } else {
    while (!snapshots_.empty() && static_cast<std::size_t>(snapshots_.back().length) > common)
      snapshots_.pop_back();
    if (snapshots_.empty())
      state_ = SequenceMemory(model_.config(), model_.ops());
    else
      state_.restore(snapshots_.back());
    common = static_cast<std::size_t>(state_.length());
  }
  held_.resize(common);
}

std::vector<GeneratedToken> Session::generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                                              const TokenCallback& on_token) {
  const ThreadScope threads(threads_);
  check_room(model_.config(), prompt.size(), options);
  return_to_common_prefix(prompt);
  reused_ = held_.size();
  Generation generation(*this, prompt.subspan(held_.size()), options, on_token);
  // Whatever a step that failed was fed is not held.
  struct Settle {
    Session& session;
    ~Settle() { session.held_.resize(static_cast<std::size_t>(session.state_.length())); }
  } settle{*this};
  Engine engine(model_, workspace_);
  engine.submit(generation, state_);
  engine.run();
  return generation.take();
}

void Session::keep_snapshot() {
  if (state_.can_rewind()) return;
  if (snapshots_.size() == kSnapshots) snapshots_.pop_front();
  snapshots_.push_back(state_.snapshot());
}

std::vector<GeneratedToken> generate(const Model& model, std::span<const TokenId> prompt,
                                     const GenerateOptions& options, const TokenCallback& on_token,
                                     const Context& context) {
  return Session(model, context).generate(prompt, options, on_token);
}

std::vector<float> compute_logits(const Model& model, std::span<const TokenId> ids, std::size_t last,
                                  const Context& context) {
  const ThreadScope threads(context.threads);
  if (ids.empty()) fail("no token ids, expected at least one");
  if (last > ids.size()) fail("the last {} positions of {} tokens were asked for", last, ids.size());
  const auto state = make_sequence_state(model);
  const Chunk chunk{state.get(), ids};
  Workspace workspace(context.activations());
  const Rows hidden = model.forward({&chunk, 1}, workspace);
  const Rows rows = model.logits(hidden.last(last == 0 ? ids.size() : last), workspace);
  std::vector<float> logits(rows.size());
  model.ops().read(rows, logits);
  for (const float logit : logits)
    if (!std::isfinite(logit))
      fail("a logit is {}, a finite number expected: the weights are damaged or overflow", logit);
  return logits;
}

}  // namespace assay
