#include "assay/runtime/engine.h"

#include <algorithm>
#include <cassert>
#include <exception>
#include <iterator>
#include <optional>

namespace assay {

void SequenceClient::take_hidden(const Rows&, std::size_t) {}
void SequenceClient::take_logits(std::span<const float>) {}

struct Engine::Sequence {
  Id id = 0;
  SequenceClient* client = nullptr;
  std::optional<SequenceMemory> own;
  SequenceMemory* memory = nullptr;
  std::vector<TokenId> held;  // the tokens of `own`, from its start: what others may share
  Feed feed;
  std::size_t fed = 0;  // tokens of the feed that are computed
  bool asked = false, ended = false;

  std::size_t left() const { return feed.tokens.size() - fed; }
};

Engine::Engine(const Model& model, Workspace& workspace, const EngineOptions& options)
    : model_(model), workspace_(workspace), options_(options) {
  assert(options.piece > 0);
}

Engine::~Engine() = default;

Engine::Id Engine::submit(SequenceClient& client) {
  auto sequence = std::make_unique<Sequence>();
  sequence->own.emplace(model_.config(), model_.ops());
  sequence->memory = &*sequence->own;
  sequence->client = &client;
  sequence->id = next_id_++;
  joining_.push_back(std::move(sequence));
  return joining_.back()->id;
}

Engine::Id Engine::submit(SequenceClient& client, SequenceMemory& memory) {
  auto sequence = std::make_unique<Sequence>();
  sequence->memory = &memory;
  sequence->client = &client;
  sequence->id = next_id_++;
  joining_.push_back(std::move(sequence));
  return joining_.back()->id;
}

void Engine::cancel(Id id) {
  for (const auto* list : {&sequences_, &joining_})
    for (const auto& sequence : *list)
      if (sequence->id == id) sequence->ended = true;
}

void Engine::ask(Sequence& sequence) {
  const bool first = !sequence.asked;
  sequence.feed = sequence.client->next();
  sequence.asked = true;
  sequence.fed = 0;
  sequence.ended = sequence.feed.tokens.empty();
  if (first && sequence.own && !sequence.client->wants_hidden()) share_prefix(sequence);
}

/// Of the living sequences the one whose tokens go along farthest. The last token is always computed.
void Engine::share_prefix(Sequence& sequence) {
  if (!sequence.own->can_rewind() || sequence.feed.tokens.empty()) return;
  const auto wanted = sequence.feed.tokens.first(sequence.feed.tokens.size() - 1);
  const Sequence* donor = nullptr;
  std::size_t longest = 0;
  for (const auto& other : sequences_) {
    if (other.get() == &sequence || !other->own || other->ended) continue;
    const auto common =
        static_cast<std::size_t>(std::ranges::mismatch(wanted, other->held).in1 - wanted.begin());
    if (common > longest) {
      longest = common;
      donor = other.get();
    }
  }
  if (longest < kShortestShared) return;
  sequence.own->take_prefix(*donor->own, static_cast<int>(longest));
  sequence.held.assign(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(longest));
  sequence.fed = longest;
  shared_tokens_ += longest;
}

bool Engine::step() {
  std::ranges::move(joining_,
                    std::back_inserter(sequences_));  // clients may submit others while they are asked
  joining_.clear();
  for (const auto& sequence : sequences_)
    if (!sequence->ended && (!sequence->asked || sequence->left() == 0)) ask(*sequence);
  std::erase_if(sequences_, [](const auto& sequence) { return sequence->ended; });
  if (sequences_.empty()) return !joining_.empty();

  const Workspace::Scope scope(workspace_);
  std::vector<Chunk> chunks;
  std::vector<Sequence*> fed;
  for (const auto& sequence : sequences_) {
    const std::size_t count = std::min(options_.piece, sequence->left());
    chunks.push_back({sequence->memory, sequence->feed.tokens.subspan(sequence->fed, count)});
    fed.push_back(sequence.get());
  }
  const Rows hidden = model_.forward(chunks, workspace_);
  hand_over(fed, chunks, hidden);
  return true;
}

void Engine::hand_over(std::span<Sequence* const> fed, std::span<const Chunk> chunks, const Rows& hidden) {
  // The pass is done: what every sequence holds is put down before anybody may throw.
  std::vector<GatheredRow> rows;  // that logits are asked for
  std::vector<Sequence*> takers;
  std::uint32_t row = 0;
  for (std::size_t i = 0; i < fed.size(); ++i) {
    Sequence& sequence = *fed[i];
    const auto& tokens = chunks[i].tokens;
    sequence.fed += tokens.size();
    if (sequence.own) sequence.held.insert(sequence.held.end(), tokens.begin(), tokens.end());
    row += static_cast<std::uint32_t>(tokens.size());
    if (!sequence.feed.logits || sequence.left() > 0) continue;
    rows.push_back({row - 1, static_cast<std::uint32_t>(takers.size()), 1});
    takers.push_back(&sequence);
  }
  std::exception_ptr problem;
  const auto serve = [&](Sequence& sequence, const auto& call) {
    try {
      call(*sequence.client);
    } catch (...) {
      sequence.ended = true;
      if (!problem) problem = std::current_exception();
    }
  };
  row = 0;
  for (std::size_t i = 0; i < fed.size(); ++i) {
    const std::size_t count = chunks[i].tokens.size();
    if (fed[i]->client->wants_hidden())
      serve(*fed[i], [&](SequenceClient& client) {
        client.take_hidden(hidden.range(row, count), fed[i]->fed - count);
      });
    row += static_cast<std::uint32_t>(count);
  }
  if (!takers.empty()) {
    Rows last = hidden;  // every row, where each sequence has fed one token
    if (rows.size() != hidden.count()) {
      last = workspace_.take(hidden.element(), rows.size(), hidden.width());
      model_.ops().gather(hidden, rows, last);
    }
    std::span<const float> logits;
    try {
      logits = model_.ops().on_host(model_.logits(last, workspace_), copy_);
    } catch (...) {  // nobody gets any
      for (Sequence* taker : takers) taker->ended = true;
      throw;
    }
    const std::size_t vocabulary = logits.size() / takers.size();
    for (std::size_t i = 0; i < takers.size(); ++i)
      serve(*takers[i],
            [&](SequenceClient& client) { client.take_logits(logits.subspan(i * vocabulary, vocabulary)); });
  }
  if (problem) std::rethrow_exception(problem);
}

}  // namespace assay
