#pragma once
// libsentencepiece trusts the model it is given: broken ones can make it abort, or read beyond a table. This
// walk over the serialized protobuf (sentencepiece_model.proto) proves beforehand whatever it takes on trust.
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "assay/tokenizer/tokenizer.h"

namespace assay {

enum class PieceType { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct SentencePiece {
  std::string text;
  PieceType type = PieceType::normal;
};

/// A model that has been proven harmless, with what the proof came across.
struct SentencePieceModel {
  std::string origin;  // opens messages
  std::string serialized;
  std::vector<SentencePiece> pieces;  // by id
  std::unordered_map<std::string, TokenId> ids;
  bool add_dummy_prefix = true;   // a space is put in front of the text
  std::size_t growth = 1;         // times that normalization may lengthen a text
  std::size_t longest_piece = 0;  // bytes

  std::optional<TokenId> find(const std::string& text) const;
};

/// Throws Error for a malformed model, and for the few options that are not supported: models other than BPE
/// and unigram, white space behind words, unescaped white space.
SentencePieceModel read_sentencepiece_model(const std::string& serialized, const std::string& origin);

/// Appended to a serialized model, overrides its add_dummy_prefix with false: protobuf merges repeated
/// messages.
extern const std::string_view kWithoutDummyPrefix;

}  // namespace assay
