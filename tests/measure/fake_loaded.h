#pragma once
// A LoadedModel without files: letters for tokens, an invented checkpoint.
#include <algorithm>
#include <memory>
#include <string>

#include "assay/runtime/session.h"
#include "tests/measure/fakes.h"

namespace assay::test {

/// Token i is the letter 'a' + i.
class LetterTokenizer : public Tokenizer {
 public:
  explicit LetterTokenizer(int letters) : letters_(letters) {}
  std::vector<TokenId> encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(std::clamp(c - 'a', 0, letters_ - 1));
    return ids;
  }
  std::string decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) text += static_cast<char>('a' + id);
    return text;
  }
  std::size_t vocabulary_size() const override { return static_cast<std::size_t>(letters_); }
  bool is_special(TokenId) const override { return false; }
  std::optional<TokenId> find(std::string_view) const override { return std::nullopt; }

 private:
  int letters_;
};

inline LoadedModel fake_loaded(const std::string& path, int letters, LogitRule rule) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = path;
  return {checkpoint, std::make_shared<FakeModel>(letters, std::move(rule)),
          std::make_shared<LetterTokenizer>(letters)};
}

/// Every continuation has its own logits, sharper with `sharpness`, disturbed by `noise`.
inline LogitRule noisy_rule(int letters, double sharpness, double noise) {
  return [=](std::span<const std::int32_t> history) {
    std::uint64_t state = 3;
    for (const std::int32_t token : history.last(std::min<std::size_t>(2, history.size())))
      state = state * 31 + static_cast<std::uint64_t>(token) + 1;
    Noise clean(state), disturbance(state + 1000003 + history.size());
    std::vector<float> logits;
    for (int v = 0; v < letters; ++v)
      logits.push_back(static_cast<float>(sharpness * clean.normal() + noise * disturbance.normal()));
    return logits;
  };
}

}  // namespace assay::test
