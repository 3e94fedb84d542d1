#include "assay/tokenizer/sentencepiece_guard.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "assay/base/error.h"
#include "assay/base/protobuf_walk.h"
#include "assay/base/quote.h"
#include "assay/base/utf8.h"
#include "assay/tokenizer/character_map.h"

namespace assay {

constexpr char kOverride[] = {0x1A, 0x02, 0x18, 0x00};  // field 3 {field 3: 0}
const std::string_view kWithoutDummyPrefix(kOverride, sizeof kOverride);

namespace {

constexpr std::size_t kLargestModel = 64u << 20;
constexpr std::size_t kLongestPiece = 512;  // every place of a text is compared with so many bytes
constexpr std::size_t kMostNested =
    64;  // user-defined pieces at one place: what libsentencepiece has room for

// Field numbers of sentencepiece_model.proto.
enum ModelField : std::uint32_t { kPieces = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5 };
enum PieceField : std::uint32_t { kText = 1, kScore = 2, kType = 3 };
enum TrainerField : std::uint32_t { kModelType = 3, kSpaceAsSuffix = 24 };
enum NormalizerField : std::uint32_t { kCharacterMap = 2, kAddDummyPrefix = 3, kEscapeSpaces = 5 };
constexpr std::uint64_t kUnigram = 1, kBpe = 2;

void expect_wire_type(const ProtobufField& field, int type, const std::string& origin) {
  if (field.wire_type != type)
    fail("{}: protobuf field {} has wire type {}, {} expected", origin, field.number, field.wire_type, type);
}

bool flag(const ProtobufField& field, const std::string& origin) {
  expect_wire_type(field, 0, origin);
  return field.value != 0;
}

class Reader {
 public:
  Reader(const std::string& serialized, const std::string& origin) : origin_(origin) {
    model_.origin = origin;
    model_.serialized = serialized;
  }

  SentencePieceModel read() {
    if (model_.serialized.size() > kLargestModel)
      fail("{}: sentencepiece model of {} bytes, at most {} expected", origin_, model_.serialized.size(),
           kLargestModel);
    ProtobufWalk walk(model_.serialized, origin_);
    while (const auto field = walk.next()) {
      if (field->number < kPieces || field->number > kDenormalizer) continue;
      expect_wire_type(*field, 2, origin_);
      if (field->number == kPieces) piece(field->bytes);
      if (field->number == kTrainer) trainer(field->bytes);
      if (field->number == kNormalizer || field->number == kDenormalizer)
        normalizer(field->bytes, field->number == kNormalizer);
    }
    if (unknown_ != 1)
      fail("{}: sentencepiece model with {} pieces of type unknown, 1 expected", origin_, unknown_);
    check_user_defined();
    return std::move(model_);
  }

 private:
  void piece(std::string_view bytes) {
    const std::size_t id = model_.pieces.size();
    SentencePiece piece;
    ProtobufWalk walk(bytes, origin_);
    while (const auto field = walk.next()) {
      if (field->number == kText) {
        expect_wire_type(*field, 2, origin_);
        piece.text = field->bytes;
      } else if (field->number == kScore) {
        expect_wire_type(*field, 5, origin_);
        if (!std::isfinite(std::bit_cast<float>(static_cast<std::uint32_t>(field->value))))
          fail("{}: piece {}: score is not finite", origin_, id);
      } else if (field->number == kType) {
        expect_wire_type(*field, 0, origin_);
        if (field->value < 1 || field->value > 6)
          fail("{}: piece {}: type is {}, 1 to 6 expected", origin_, id, field->value);
        piece.type = static_cast<PieceType>(field->value);
      }
    }
    if (piece.text.empty() || piece.text.size() > kLongestPiece)
      fail("{}: piece {}: {} bytes, 1 to {} expected", origin_, id, piece.text.size(), kLongestPiece);
    if (valid_utf8_prefix(piece.text) != piece.text.size() || piece.text.find('\0') != std::string::npos)
      fail("{}: piece {}: not UTF-8, or holds a zero byte", origin_, id);
    if (!model_.ids.emplace(piece.text, static_cast<TokenId>(id)).second)
      fail("{}: piece {}: {} occurs twice", origin_, id, quote(piece.text));
    unknown_ += piece.type == PieceType::unknown ? 1 : 0;
    model_.longest_piece = std::max(model_.longest_piece, piece.text.size());
    model_.pieces.push_back(std::move(piece));
  }

  /// Those that begin one another are all found at once, into a table of fixed size.
  void check_user_defined() const {
    std::vector<std::string_view> nested, texts;  // nested: each begins the next
    for (const SentencePiece& piece : model_.pieces)
      if (piece.type == PieceType::user_defined) texts.push_back(piece.text);
    std::ranges::sort(texts);
    for (const std::string_view text : texts) {
      while (!nested.empty() && !text.starts_with(nested.back())) nested.pop_back();
      nested.push_back(text);
      if (nested.size() > kMostNested)
        fail("{}: {} user-defined pieces that begin one another, at most {} expected: {}", origin_,
             nested.size(), kMostNested, quote(text));
    }
  }

  void trainer(std::string_view bytes) {
    ProtobufWalk walk(bytes, origin_);
    while (const auto field = walk.next()) {
      if (field->number == kModelType) {
        expect_wire_type(*field, 0, origin_);
        if (field->value != kUnigram && field->value != kBpe)
          fail("{}: sentencepiece model type {} is not supported (1, unigram, and 2, BPE, are)", origin_,
               field->value);
      } else if (field->number == kSpaceAsSuffix && flag(*field, origin_)) {
        fail("{}: treat_whitespace_as_suffix is not supported", origin_);
      }
    }
  }

  void normalizer(std::string_view bytes, bool of_input) {
    ProtobufWalk walk(bytes, origin_);
    while (const auto field = walk.next()) {
      if (field->number == kCharacterMap) {
        expect_wire_type(*field, 2, origin_);
        if (!field->bytes.empty())
          model_.growth = std::max(model_.growth, check_character_map(field->bytes, origin_));
      } else if (field->number == kAddDummyPrefix && of_input) {
        model_.add_dummy_prefix = flag(*field, origin_);
      } else if (field->number == kEscapeSpaces && of_input && !flag(*field, origin_)) {
        fail("{}: a sentencepiece model that does not escape white space is not supported", origin_);
      }
    }
  }

  const std::string& origin_;
  SentencePieceModel model_;
  int unknown_ = 0;
};

}  // namespace

std::optional<TokenId> SentencePieceModel::find(const std::string& text) const {
  const auto found = ids.find(text);
  if (found == ids.end()) return std::nullopt;
  return found->second;
}

SentencePieceModel read_sentencepiece_model(const std::string& serialized, const std::string& origin) {
  return Reader(serialized, origin).read();
}

}  // namespace assay
