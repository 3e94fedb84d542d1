#include "assay/tokenizer/sentencepiece_tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <charconv>

#include "assay/base/error.h"
#include "assay/base/quote.h"
#include "assay/base/utf8.h"
#include "assay/tokenizer/text_budget.h"
#include "assay/tokenizer/vocabulary.h"

namespace assay {
namespace {

using sentencepiece::SentencePieceProcessor;

constexpr std::string_view kPieceSpace = "\u2581";
constexpr TokenId kNone = -1;

// libsentencepiece cannot be stopped. It takes time in proportion to the text: each byte of the normalized
// text is compared with pieces as long as the longest, so hostile models reach 70 microseconds a byte
// (measured, 9 ns a step) where ordinary ones take one.
constexpr double kSecondsPerStep = 1e-8, kLeastSecondsPerByte = 1e-6;
constexpr std::size_t kSlice = 16384;                     // bytes: a second or so at worst
constexpr std::size_t kByte = 1000, kCostlyByte = 70000;  // nanoseconds
constexpr std::size_t kSpaceBytes = 3;                    // of the mark that a space becomes

/// May a text need more than its budget?
bool is_costly(const SentencePieceModel& model) {
  const auto steps = static_cast<double>(std::max(model.growth, kSpaceBytes) * model.longest_piece);
  return kLeastSecondsPerByte + kSecondsPerStep * steps > TextBudget::kSecondsPerByte;
}

void load_processor(SentencePieceProcessor& processor, const std::string& serialized,
                    const std::string& origin) {
  try {
    const auto status = processor.LoadFromSerializedProto(serialized);
    if (!status.ok()) fail("{}: not a usable sentencepiece model: {}", origin, status.ToString());
  } catch (const Error&) {
    throw;
  } catch (const std::exception& problem) {
    fail("{}: not a usable sentencepiece model: {}", origin, problem.what());
  }
}

/// The value of "<0xE2>", or -1 for a piece that does not spell a byte.
int byte_value(const std::string& piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return -1;
  int value = -1;
  const auto [end, problem] = std::from_chars(piece.data() + 3, piece.data() + 5, value, 16);
  return problem == std::errc() && end == piece.data() + 5 ? value : -1;
}

std::string to_text(const std::string& piece) {
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    const bool space = std::string_view(piece).substr(at).starts_with(kPieceSpace);
    text += space ? ' ' : piece[at];
    at += space ? kPieceSpace.size() : 1;
  }
  return text;
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(const SentencePieceModel& model, const std::vector<AddedToken>& added, bool legacy)
      : origin_(model.origin),
        legacy_(legacy),
        strips_prefix_(model.add_dummy_prefix),
        costly_(is_costly(model)),
        finder_(added) {
    load_processor(with_prefix_, model.serialized, origin_);
    load_processor(without_prefix_, model.serialized + std::string(kWithoutDummyPrefix), origin_);
    byte_ids_.fill(kNone);
    for (const SentencePiece& piece : model.pieces) add_piece(piece);
    for (const AddedToken& token : added) add_token(token);
  }

  std::vector<TokenId> encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    TextBudget budget(text.size(), origin_);
    bool begins_sentence = true;
    while (!text.empty()) {
      const std::size_t valid = valid_utf8_prefix(text);
      if (valid == 0) encode_byte(text.front(), ids);
      for (const TextPiece& piece : finder_.split(text.substr(0, valid))) {
        if (piece.token)
          ids.push_back(*piece.token);
        else
          encode_plain(begins_sentence ? with_prefix_ : without_prefix_, piece.text, budget, ids);
        begins_sentence = legacy_;
      }
      begins_sentence = false;
      text.remove_prefix(std::max<std::size_t>(valid, 1));
    }
    return ids;
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (id < 0 || static_cast<std::size_t>(id) >= decoded_.size() ||
          !decoded_[static_cast<std::size_t>(id)])
        fail("{}: token id {} is not in the vocabulary", origin_, id);
      if (!skip_special || !is_special(id)) text += *decoded_[static_cast<std::size_t>(id)];
    }
    if (strips_prefix_ && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }

  std::size_t vocabulary_size() const override { return decoded_.size(); }

  bool is_special(TokenId id) const override {
    return id >= 0 && static_cast<std::size_t>(id) < special_.size() &&
           special_[static_cast<std::size_t>(id)];
  }

  std::optional<TokenId> find(std::string_view token) const override {
    const auto found = ids_.find(token);
    if (found == ids_.end()) return std::nullopt;
    return found->second;
  }

 private:
  void add_piece(const SentencePiece& piece) {
    const auto id = static_cast<TokenId>(decoded_.size());
    ids_.emplace(piece.text, id);
    special_.push_back(piece.type == PieceType::control || piece.type == PieceType::unknown);
    decoded_.emplace_back(to_text(piece.text));
    if (piece.type != PieceType::byte) return;
    const int value = byte_value(piece.text);
    if (value < 0) fail("{}: piece {}: {} does not spell a byte", origin_, id, quote(piece.text));
    byte_ids_[static_cast<std::size_t>(value)] = id;
    decoded_.back() = std::string(1, static_cast<char>(value));
  }

  void add_token(const AddedToken& token) {
    const auto at = static_cast<std::size_t>(token.id);
    const auto known = find(token.content);
    if (known && *known != token.id)
      fail("{}: added token {} has id {}, in the model it is {}", origin_, quote(token.content), token.id,
           *known);
    if (!known && at < decoded_.size() && decoded_[at])
      fail("{}: added token {} has id {}, which another piece has", origin_, quote(token.content), token.id);
    if (at > ids_.size() + 65536)  // the tokens, not the ids: holes must not make room for more of them
      fail("{}: added token {}: id {} is far beyond the {} pieces", origin_, quote(token.content), token.id,
           ids_.size());
    if (at >= decoded_.size()) {
      decoded_.resize(at + 1);
      special_.resize(at + 1);
    }
    ids_.emplace(token.content, token.id);
    decoded_[at] = token.content;
    special_[at] = special_[at] || token.special;
  }

  void encode_byte(char byte, std::vector<TokenId>& ids) const {
    const TokenId id = byte_ids_[static_cast<unsigned char>(byte)];
    if (id == kNone)
      fail("{}: the model has no token for byte 0x{:02X}, which occurs outside valid UTF-8", origin_,
           static_cast<unsigned char>(byte));
    ids.push_back(id);
  }

  void encode_plain(const SentencePieceProcessor& processor, std::string_view text, TextBudget& budget,
                    std::vector<TokenId>& ids) const {
    if (costly_ && text.size() > kSlice) rehearse(text, budget);
    const std::vector<int> encoded = encode_at_once(processor, text, budget);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
  }

  /// Slices of the text take as long as the whole, but the clock can be looked at between them.
  void rehearse(std::string_view text, TextBudget& budget) const {
    while (!text.empty()) {
      const std::size_t size = valid_utf8_prefix(text.substr(0, kSlice));
      encode_at_once(without_prefix_, text.substr(0, size), budget);
      text.remove_prefix(size);
    }
  }

  std::vector<int> encode_at_once(const SentencePieceProcessor& processor, std::string_view text,
                                  TextBudget& budget) const {
    std::vector<int> encoded;
    const auto status = processor.Encode({text.data(), text.size()}, &encoded);
    if (!status.ok())
      fail("{}: text of {} bytes cannot be encoded: {}", origin_, text.size(), status.ToString());
    budget.spend_time(text.size() * (costly_ ? kCostlyByte : kByte), origin_ + ": encoding");
    return encoded;
  }

  std::string origin_;
  bool legacy_;
  bool strips_prefix_;  // decoding removes the space that encoding put in front
  bool costly_;
  AddedTokenFinder finder_;
  SentencePieceProcessor with_prefix_, without_prefix_;
  StringMap<TokenId> ids_;
  std::vector<std::optional<std::string>> decoded_;  // by id; nothing for holes
  std::vector<bool> special_;
  std::array<TokenId, 256> byte_ids_{};
};

}  // namespace

std::shared_ptr<Tokenizer> make_sentencepiece_tokenizer(const SentencePieceModel& model,
                                                        const std::vector<AddedToken>& added, bool legacy) {
  return std::make_shared<SentencePieceTokenizer>(model, added, legacy);
}

}  // namespace assay
