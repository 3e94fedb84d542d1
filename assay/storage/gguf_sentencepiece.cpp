// sentencepiece's ModelProto (sentencepiece_model.proto) written by hand: three kinds of protobuf fields
// suffice.
#include <bit>

#include "assay/base/error.h"
#include "assay/storage/gguf_tokenizer.h"

namespace assay {
namespace {

/// A protobuf message under construction.
class Message {
 public:
  Message& integer(std::uint32_t field, std::uint64_t value) {
    varint(field << 3 | 0);
    varint(value);
    return *this;
  }
  Message& boolean(std::uint32_t field, bool value) { return integer(field, value ? 1 : 0); }
  Message& number(std::uint32_t field, float value) {
    varint(field << 3 | 5);
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(bits >> shift & 0xFF);
    return *this;
  }
  Message& text(std::uint32_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7F) | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// Field numbers of sentencepiece_model.proto.
enum ModelField : std::uint32_t { kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3 };
enum PieceField : std::uint32_t { kPiece = 1, kScore = 2, kType = 3 };
enum TrainerField : std::uint32_t {
  kModelType = 3,
  kVocabSize = 4,
  kByteFallback = 35,
  kUnknownId = 40,
  kBosId = 41,
  kEosId = 42,
  kPadId = 43,
  kUnknownPiece = 45,
  kBosPiece = 46,
  kEosPiece = 47,
  kPadPiece = 48
};
enum NormalizerField : std::uint32_t {
  kName = 1,
  kAddDummyPrefix = 3,
  kRemoveExtraSpaces = 4,
  kEscapeSpaces = 5
};
constexpr std::uint64_t kBpe = 2;

struct SpecialPiece {
  std::optional<std::uint64_t> id;
  TrainerField id_field, piece_field;
};

std::string trainer_spec(const GgufVocabulary& vocabulary, bool byte_fallback) {
  Message spec;
  spec.integer(kModelType, kBpe)
      .integer(kVocabSize, vocabulary.tokens.size())
      .boolean(kByteFallback, byte_fallback);
  for (const SpecialPiece& special :
       {SpecialPiece{vocabulary.unknown, kUnknownId, kUnknownPiece},
        SpecialPiece{vocabulary.bos, kBosId, kBosPiece}, SpecialPiece{vocabulary.eos, kEosId, kEosPiece},
        SpecialPiece{vocabulary.padding, kPadId, kPadPiece}}) {
    // Minus one, as a protobuf int32, says that the model has no such piece.
    spec.integer(special.id_field, special.id.value_or(~std::uint64_t{0}));
    if (special.id) spec.text(special.piece_field, vocabulary.tokens[*special.id]);
  }
  return spec.bytes();
}

std::string normalizer_spec(GgufMetadata& metadata) {
  return Message()
      .text(kName, "identity")
      .boolean(kAddDummyPrefix, metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(true))
      .boolean(kRemoveExtraSpaces,
               metadata.boolean("tokenizer.ggml.remove_extra_whitespaces").value_or(false))
      .boolean(kEscapeSpaces, true)
      .bytes();
}

}  // namespace

std::string gguf_sentencepiece_model(GgufMetadata& metadata, GgufVocabulary& vocabulary) {
  const std::string pre = metadata.text("tokenizer.ggml.pre").value_or("default");
  if (pre != "default")
    fail("{}: key tokenizer.ggml.pre is {}, none or default expected for a sentencepiece tokenizer",
         metadata.path(), pre);
  const std::string scores_key = "tokenizer.ggml.scores";
  const auto scores = metadata.require(metadata.floats(scores_key), scores_key);
  if (scores.size() != vocabulary.tokens.size())
    fail("{}: key {} has {} entries, there are {} tokens", metadata.path(), scores_key, scores.size(),
         vocabulary.tokens.size());
  metadata.ignore("tokenizer.ggml.merges");  // the scores say the same
  if (!vocabulary.adds_bos) vocabulary.adds_bos = true;

  Message model;
  bool byte_fallback = false;
  for (std::size_t id = 0; id < scores.size(); ++id) {
    const auto type = vocabulary.types[id];
    if (vocabulary.tokens[id].empty())
      fail("{}: key tokenizer.ggml.tokens: token {} is empty", metadata.path(), id);
    byte_fallback = byte_fallback || type == GgufTokenType::byte;
    // sentencepiece itself knows which piece is the unknown one by its type alone.
    if (type == GgufTokenType::unknown && !vocabulary.unknown) vocabulary.unknown = id;
    model.text(kPieces, Message()
                            .text(kPiece, vocabulary.tokens[id])
                            .number(kScore, scores[id])
                            .integer(kType, static_cast<std::uint64_t>(type))
                            .bytes());
  }
  model.text(kTrainerSpec, trainer_spec(vocabulary, byte_fallback));
  model.text(kNormalizerSpec, normalizer_spec(metadata));
  return model.bytes();
}

}  // namespace assay
