#pragma once
// What formats with decode(q) = (q - zero) * scale have in common: unsigned codes in 32-bit words, lowest
// bits first, groups of one row (or the whole of it), a scale a group, and a zero point that is stored or the
// middle of the codes. Read only. Params hold scale and zero point (as `bias`).
//
// Planes: weight (I32), scales, and zeros (U8, one byte a group) where zero points are stored. Codes of a row
// are one stream; a row that does not fill its last word ends in spare bits, which readers ignore.
#include "assay/formats/format.h"

namespace assay {

struct ZeroPointTraits {
  int bits = 4;
  std::size_t group = 0;  // a multiple of 32; 0: the whole row
  DType scale = DType::F16;
  bool stored_zeros = true;
  int added_to_zeros = 0;  // before use, the sum taken to `bits` bits
};

class ZeroPointFormat : public Format {
 public:
  bool can_encode() const final { return false; }
  Layout layout(std::uint64_t columns) const final;
  bool valid(const Params& params, std::span<const Code> codes, std::string* why) const final;
  void decode(std::span<const Params> params, std::span<const Code> codes, std::span<float> out) const final;
  void unpack(std::span<const Bytes> planes, std::span<Params> params, std::span<Code> codes) const final;
  std::pair<float, float> range(const Params& params) const final;
  std::optional<CodeLine> code_line() const final {
    return CodeLine{.first = 0, .codes = codes(), .offset = CodeLine::Offset::zero};
  }

 protected:
  explicit ZeroPointFormat(const ZeroPointTraits& traits) : traits_(traits) {}
  const ZeroPointTraits& traits() const { return traits_; }
  std::string group_name() const;  // "g128", "row"
  std::string group_text() const;  // "groups of 128 in a row", "one group a row"

 private:
  Code codes() const { return 1 << traits_.bits; }
  std::size_t code_bytes(std::size_t run) const;
  ZeroPointTraits traits_;
};

}  // namespace assay
