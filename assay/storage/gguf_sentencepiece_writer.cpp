// Reads sentencepiece's ModelProto (sentencepiece_model.proto) for what GGUF keeps of it.
#include <bit>
#include <cmath>

#include "assay/base/error.h"
#include "assay/base/protobuf_walk.h"
#include "assay/storage/gguf_tokenizer_writer.h"

namespace assay {
namespace {

// Wire types, and field numbers of sentencepiece_model.proto.
constexpr int kVarint = 0, kDelimited = 2, kFourBytes = 5;
constexpr std::uint32_t kPieceField = 1, kTrainerField = 2, kNormalizerField = 3, kDenormalizerField = 5;
constexpr std::uint32_t kTextOfPiece = 1, kScoreOfPiece = 2, kTypeOfPiece = 3;
constexpr std::uint32_t kModelTypeOfTrainer = 3, kSpaceAsSuffixOfTrainer = 24;
constexpr std::uint32_t kCharacterMapOfNormalizer = 2, kDummyPrefixOfNormalizer = 3,
                        kRemoveSpacesOfNormalizer = 4, kEscapeSpacesOfNormalizer = 5;
constexpr std::uint64_t kUnigramModel = 1, kBpeModel = 2;

void expect_wire(const ProtobufField& field, int type, const std::string& path) {
  if (field.wire_type != type)
    fail("{}: tokenizer.model: protobuf field {} has wire type {}, {} expected", path, field.number,
         field.wire_type, type);
}

/// What proto2 takes the fields to be where they are absent.
struct ModelOptions {
  std::uint64_t model_type = kUnigramModel;
  bool space_as_suffix = false, dummy_prefix = true, removes_spaces = true, escapes_spaces = true;
  bool maps_characters = false;
};

class ModelReader {
 public:
  ModelReader(GgufTokenTable& table, const std::string& path) : table_(table), path_(path) {}

  void read(const std::string& model) {
    ProtobufWalk walk(model, path_);
    while (const auto field = walk.next()) {
      if (field->number < kPieceField || field->number > kDenormalizerField) continue;
      expect_wire(*field, kDelimited, path_);
      if (field->number == kPieceField) piece(field->bytes);
      if (field->number == kTrainerField) trainer(field->bytes);
      if (field->number == kNormalizerField || field->number == kDenormalizerField)
        normalizer(field->bytes, field->number == kNormalizerField);
    }
  }
  const ModelOptions& options() const { return options_; }
  std::vector<float> take_scores() { return std::move(scores_); }

 private:
  void piece(std::string_view bytes) {
    std::string_view text;
    float score = 0;
    std::uint64_t type = static_cast<std::uint64_t>(GgufTokenType::normal);
    ProtobufWalk walk(bytes, path_);
    while (const auto field = walk.next()) {
      if (field->number == kTextOfPiece) {
        expect_wire(*field, kDelimited, path_);
        text = field->bytes;
      } else if (field->number == kScoreOfPiece) {
        expect_wire(*field, kFourBytes, path_);
        score = std::bit_cast<float>(static_cast<std::uint32_t>(field->value));
      } else if (field->number == kTypeOfPiece) {
        expect_wire(*field, kVarint, path_);
        type = field->value;
      }
    }
    const std::size_t id = scores_.size();
    if (text.empty() || !std::isfinite(score) || type < 1 || type > 6)
      fail("{}: tokenizer.model: piece {} is empty, or its score or its type ({}) is no legal one", path_, id,
           type);
    table_.add(text, id, static_cast<GgufTokenType>(type));
    scores_.push_back(score);
  }

  void trainer(std::string_view bytes) {
    ProtobufWalk walk(bytes, path_);
    while (const auto field = walk.next()) {
      if (field->number == kModelTypeOfTrainer) options_.model_type = number(*field);
      if (field->number == kSpaceAsSuffixOfTrainer) options_.space_as_suffix = number(*field) != 0;
    }
  }

  void normalizer(std::string_view bytes, bool of_input) {
    ProtobufWalk walk(bytes, path_);
    while (const auto field = walk.next()) {
      if (field->number == kCharacterMapOfNormalizer) {
        expect_wire(*field, kDelimited, path_);
        options_.maps_characters |= !field->bytes.empty();
      }
      if (!of_input) continue;
      if (field->number == kDummyPrefixOfNormalizer) options_.dummy_prefix = number(*field) != 0;
      if (field->number == kRemoveSpacesOfNormalizer) options_.removes_spaces = number(*field) != 0;
      if (field->number == kEscapeSpacesOfNormalizer) options_.escapes_spaces = number(*field) != 0;
    }
  }

  std::uint64_t number(const ProtobufField& field) const {
    expect_wire(field, kVarint, path_);
    return field.value;
  }

  GgufTokenTable& table_;
  const std::string& path_;
  std::vector<float> scores_;
  ModelOptions options_;
};

}  // namespace

std::vector<float> write_gguf_sentencepiece(const std::string& model, GgufTokenTable& table,
                                            GgufHeader& header) {
  const std::string& path = header.path();
  ModelReader reader(table, path);
  reader.read(model);
  const ModelOptions& options = reader.options();
  const auto refuse_if = [&](bool wrong, const char* what) {
    if (wrong) fail("{}: tokenizer.model {}, which llama.cpp does not; choose another container", path, what);
  };
  refuse_if(options.model_type != kBpeModel, "is not of the type BPE");
  refuse_if(options.space_as_suffix, "puts white space behind words");
  refuse_if(options.removes_spaces, "removes repeated spaces");
  refuse_if(!options.escapes_spaces, "leaves spaces as they are");
  refuse_if(options.maps_characters, "normalises characters");
  header.text("tokenizer.ggml.model", "llama");
  header.text("tokenizer.ggml.pre", "default");
  header.boolean("tokenizer.ggml.add_space_prefix", options.dummy_prefix);
  header.boolean("tokenizer.ggml.remove_extra_whitespaces", false);
  return reader.take_scores();
}

}  // namespace assay
