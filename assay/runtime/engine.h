#pragma once
// Sequences of one model that advance together: a step is one forward pass over what each of them feeds.
// Sequences join and leave between steps. Conversations, sampled text and evaluation are its clients.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "assay/model/model.h"
#include "assay/runtime/sequence_memory.h"
#include "assay/tokenizer/tokenizer.h"

namespace assay {

/// What a sequence adds to itself.
struct Feed {
  std::span<const TokenId> tokens;  // none: it has ended
  bool logits = false;              // those behind the last token are asked for
};

/// Who decides what a sequence feeds, and sees what comes of it.
class SequenceClient {
 public:
  virtual ~SequenceClient() = default;
  /// Asked when the last feed has been computed. The tokens must stay until it is asked again.
  virtual Feed next() = 0;
  /// Hidden rows, after the final norm, of the feed's tokens from `first` on. A client that says it wants
  /// them shares no prefix with others: all of its tokens are computed.
  virtual bool wants_hidden() const { return false; }
  virtual void take_hidden(const Rows& rows, std::size_t first);
  virtual void take_logits(std::span<const float> logits);
};

struct EngineOptions {
  /// Tokens of one sequence in one step: long prompts are computed in pieces, so that activations stay small
  /// and the others go on.
  std::size_t piece = 512;
};

class Engine {
 public:
  using Id = std::uint64_t;

  /// Both must outlive it.
  Engine(const Model& model, Workspace& workspace, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// The sequence joins at the next step; the client must live until it has ended. With `memory` it goes on
  /// from what that holds. A new sequence that begins as a living one does, by kShortestShared tokens at
  /// least, takes what that has computed (unless delta nets carry something).
  Id submit(SequenceClient& client);
  Id submit(SequenceClient& client, SequenceMemory& memory);
  /// It leaves before the next step; nothing more is asked of its client. Nothing for one that has ended.
  void cancel(Id id);

  /// False: no sequence is left. Throws Error. When the forward pass fails the sequences are as they were
  /// before the step; what a client throws reaches the caller when all others have been served, and its
  /// sequence has ended.
  bool step();
  void run() {
    while (step()) {
    }
  }

  /// Tokens that were not computed because a living sequence had them.
  std::uint64_t shared_tokens() const { return shared_tokens_; }

  static constexpr std::size_t kShortestShared = 16;

 private:
  struct Sequence;
  void ask(Sequence& sequence);
  void share_prefix(Sequence& sequence);
  void hand_over(std::span<Sequence* const> fed, std::span<const Chunk> chunks, const Rows& hidden);

  const Model& model_;
  Workspace& workspace_;
  EngineOptions options_;
  std::vector<std::unique_ptr<Sequence>> sequences_, joining_;
  std::vector<float> copy_;  // of logits that do not lie in the host's memory
  Id next_id_ = 1;
  std::uint64_t shared_tokens_ = 0;
};

}  // namespace assay
