#include "assay/kernels/cpu/panel_matrix.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "assay/base/bytes.h"
#include "assay/base/checked.h"
#include "assay/base/half.h"
#include "assay/parallel/threads.h"

namespace assay::cpu {
namespace {

constexpr int kMostBits = 8;

/// Nothing for codes of more bits than kernels have.
std::optional<PanelCode> code_of_line(const CodeLine& line) {
  if (!line.levels.empty()) {
    const auto [lowest, highest] = std::ranges::minmax(line.levels);
    return line.levels.size() <= kLevels && highest - lowest < 1 << kMostBits
               ? std::optional(PanelCode::levels)
               : std::nullopt;
  }
  const int bits = std::bit_width(static_cast<unsigned>(line.codes - 1));
  return line.codes >= 2 && bits <= kMostBits ? std::optional(static_cast<PanelCode>(bits)) : std::nullopt;
}

PanelCode code_of_half(HalfFloat half) {
  switch (half) {
    case HalfFloat::f16:
      return PanelCode::f16;
    case HalfFloat::bf16:
      return PanelCode::bf16;
    case HalfFloat::gf16:
      break;
  }
  return PanelCode::gf16;
}

std::size_t bytes_of(PanelFloat type) {
  return type == PanelFloat::f32 ? 4 : 2;
}
std::size_t block_bytes_of(PanelCode code) {
  return static_cast<std::size_t>(words_of(code)) * kPanelRows * 4;
}

/// False where `value` is not exactly of this type.
bool write_parameter(PanelFloat type, float value, std::byte* at) {
  switch (type) {
    case PanelFloat::f16: {
      const std::uint16_t half = f32_to_f16(value);
      store(at, half);
      return std::bit_cast<std::uint32_t>(f16_to_f32(half)) == std::bit_cast<std::uint32_t>(value);
    }
    case PanelFloat::bf16: {
      const std::uint16_t half = f32_to_bf16(value);
      store(at, half);
      return std::bit_cast<std::uint32_t>(bf16_to_f32(half)) == std::bit_cast<std::uint32_t>(value);
    }
    case PanelFloat::f32:
      store(at, value);
      return true;
    case PanelFloat::gf16:  // of weights alone
      break;
  }
  return false;
}

template <int Bits, int Column>
void place_code(std::uint32_t code, std::uint32_t* registers) {
  constexpr CodePlace kPlace = place_of(Bits, Column);
  registers[kPlace.reg] |= code << kPlace.shift;
}

template <int Bits, std::size_t... Columns>
void place_codes(const std::uint32_t* codes, std::uint32_t* registers, std::index_sequence<Columns...>) {
  (place_code<Bits, Columns>(codes[Columns], registers), ...);
}

/// One row's block of 32 codes as words, those of a panel's rows interleaved.
template <int Bits>
void pack_block(const std::uint32_t* codes, std::uint32_t* words) {
  constexpr int kDigit = digit_bits(Bits);
  std::uint32_t registers[Bits + leftover_registers(Bits)] = {};
  place_codes<Bits>(codes, registers, std::make_index_sequence<kBlockColumns>());
  for (int word = 0; word < Bits; ++word) {
    if constexpr (kDigit > 0) {  // of each byte, to the top of that byte
      constexpr std::uint32_t kMask = ((std::uint32_t{1} << kDigit) - 1) * 0x01010101;
      constexpr int kWords = words_in_leftover(Bits);
      const std::uint32_t digits = registers[Bits + word / kWords] >> (kDigit * (word % kWords));
      registers[word] |= (digits & kMask) << (8 - kDigit);
    }
    words[static_cast<std::size_t>(word) * kPanelRows] = registers[word];
  }
}

/// The same of codes of 5 bits: nibbles and top bits.
void pack_planes(const std::uint32_t* codes, std::uint32_t* words) {
  constexpr int kNibble = 4;
  std::uint32_t tops = 0;
  std::array<std::uint32_t, kBlockColumns> low{};
  for (std::size_t column = 0; column < kBlockColumns; ++column) {
    low[column] = codes[column] & 15u;
    const auto at = static_cast<int>(column);
    tops |= codes[column] >> kNibble << (8 * byte_of(at) + at / 4);
  }
  pack_block<kNibble>(low.data(), words);
  words[kNibble * kPanelRows] = tops;
}

using PackBlock = void (*)(const std::uint32_t*, std::uint32_t*);
constexpr std::array<PackBlock, kPanelCodes> kPackBlocks = {
    nullptr,     pack_block<1>, pack_block<2>, pack_block<3>, pack_block<4>,
    pack_planes, pack_block<6>, pack_block<7>, pack_block<8>, pack_block<4>};  // none of halves

}  // namespace

float activation_factor(PanelCode code, std::size_t column) {
  if (code >= PanelCode::f16) return 1.0f;
  const CodePlace place = place_of(bits_of(code), static_cast<int>(column));
  return is_shifted_down(bits_of(code), place) ? 1.0f : std::ldexp(1.0f, -place.shift);
}

bool PanelMatrix::holds(const MatrixTraits& matrix) {
  // Fewer rows than a panel's would take the memory of many more than there are.
  if (matrix.rows < kPanelRows || matrix.columns == 0 || !matrix.rows_hold_units) return false;
  const Layout layout = matrix.format.layout(matrix.columns);
  if (matrix.format.half_float()) return true;
  const std::optional<CodeLine> line = matrix.format.code_line();
  const std::optional<PanelCode> code = line ? code_of_line(*line) : std::nullopt;
  if (!code || !layout.has_params || layout.share == Share::block) return false;
  if (line->superblock > 0)
    return line->superblock == kBlocksInSuperblock * kBlockColumns &&
           line->offset != CodeLine::Offset::zero &&
           layout.run * static_cast<std::size_t>(groups_in_block(*code)) == kBlockColumns;
  return layout.run == matrix.columns || layout.run % kBlockColumns == 0;
}

PanelCode PanelMatrix::code_of(const Format& format) {
  if (const std::optional<HalfFloat> half = format.half_float()) return code_of_half(*half);
  return *code_of_line(*format.code_line());
}

/// Fills panels, each by one thread.
class PanelMatrix::Packer {
 public:
  Packer(const PackedMatrix& source, const PanelMatrix& target)
      : source_(source), target_(target), line_(source.format()->code_line()) {
    if (line_ && line_->codes_are_levels)
      for (std::size_t name = 0; name < line_->levels.size(); ++name)
        name_of_level_[static_cast<std::size_t>(line_->levels[name] - line_->first)] =
            static_cast<std::uint8_t>(name);
  }

  /// False where a parameter is not of the target's type.
  bool pack(std::size_t panel, std::byte* out) const {
    const std::size_t first = panel * kPanelRows, count = std::min(kPanelRows, target_.rows_ - first);
    const Layout& layout = source_.layout();
    thread_local std::vector<Params> params;
    thread_local std::vector<Code> codes;
    params.resize(layout.has_params ? count * target_.columns_ / layout.run : 0);
    codes.resize(count * target_.columns_);
    source_.unpack(first, count, params, codes);
    std::memset(out, 0, target_.panel_bytes_);
    if (!layout.has_params) return pack_halves(codes, count, out);
    if (target_.shape_.subscaled) {
      pack_superblocks(params, codes, count, out);
      return true;
    }
    return pack_codes(params, codes, count, out);
  }

 private:
  bool pack_halves(std::span<const Code> codes, std::size_t count, std::byte* out) const {
    for (std::size_t row = 0; row < count; ++row)
      for (std::size_t column = 0; column < target_.columns_; ++column)
        store(out + (column * kPanelRows + row) * 2,
              static_cast<std::uint16_t>(codes[row * target_.columns_ + column]));
    return true;
  }

  bool pack_codes(std::span<const Params> params, std::span<const Code> codes, std::size_t count,
                  std::byte* out) const {
    const PanelView& shape = target_.shape_;
    const std::size_t width = bytes_of(shape.params), block_bytes = block_bytes_of(target_.code_);
    const bool has_offsets = shape.offset != PanelOffset::fixed_zero;
    bool exact = true;
    for (std::size_t group = 0; group < shape.groups; ++group) {
      for (std::size_t row = 0; row < count; ++row) {
        const Params& unit = params[row * shape.groups + group];
        exact = write_parameter(shape.params, unit.scale * line_->step, out + row * width) && exact;
        if (has_offsets)
          exact = write_parameter(shape.params, offset_of(unit), out + (kPanelRows + row) * width) && exact;
      }
      if (!exact) return false;
      out += (has_offsets ? 2 : 1) * kPanelRows * width;
      for (std::size_t block = 0; block < shape.blocks_in_group; ++block, out += block_bytes)
        pack_rows(codes, count, group * shape.blocks_in_group + block, out);
    }
    return true;
  }

  void pack_superblocks(std::span<const Params> params, std::span<const Code> codes, std::size_t count,
                        std::byte* out) const {
    const std::size_t groups = target_.shape_.groups, parts = groups / target_.blocks_;
    const bool has_minima = target_.shape_.offset == PanelOffset::bias;
    for (std::size_t block = 0; block < target_.blocks_; ++block) {
      const auto unit = [&](std::size_t row, std::size_t part) -> const SubScale& {
        return params[row * groups + block * parts + part].sub;
      };
      if (block % kBlocksInSuperblock == 0) {
        for (std::size_t row = 0; row < count; ++row) {
          store(out + row * 2, unit(row, 0).scale_unit);
          if (has_minima) store(out + (kPanelRows + row) * 2, unit(row, 0).minimum_unit);
        }
        out += (has_minima ? 2 : 1) * kPanelRows * 2;
      }
      for (std::size_t part = 0; part < parts; ++part)
        for (std::size_t row = 0; row < count; ++row) {
          out[part * kPanelRows + row] = static_cast<std::byte>(unit(row, part).scale);
          if (has_minima)
            out[(parts + part) * kPanelRows + row] = static_cast<std::byte>(unit(row, part).minimum);
        }
      out += (has_minima ? 2 : 1) * parts * kPanelRows;
      pack_rows(codes, count, block, out);
      out += block_bytes_of(target_.code_);
    }
  }

  void pack_rows(std::span<const Code> codes, std::size_t count, std::size_t block, std::byte* out) const {
    for (std::size_t row = 0; row < count; ++row)
      pack_row(codes.subspan(row * target_.columns_, target_.columns_), block * kBlockColumns,
               reinterpret_cast<std::uint32_t*>(out) + row);
  }

  float offset_of(const Params& unit) const {
    return line_->offset == CodeLine::Offset::zero ? unit.bias - static_cast<float>(line_->first) : unit.bias;
  }

  void pack_row(std::span<const Code> row, std::size_t column, std::uint32_t* words) const {
    std::array<std::uint32_t, kBlockColumns> block{};
    const std::size_t count = std::min(kBlockColumns, row.size() - column);
    for (std::size_t i = 0; i < count; ++i)
      block[i] = static_cast<std::uint32_t>(row[column + i] - line_->first);
    if (line_->codes_are_levels)
      for (std::size_t i = 0; i < count; ++i) block[i] = name_of_level_[block[i]];
    kPackBlocks[static_cast<std::size_t>(target_.code_)](block.data(), words);
  }

  const PackedMatrix& source_;
  const PanelMatrix& target_;
  std::optional<CodeLine> line_;
  std::array<std::uint8_t, std::size_t{1} << kMostBits> name_of_level_{};
};

PanelMatrix::PanelMatrix(const PackedMatrix& matrix)
    : rows_(static_cast<std::size_t>(matrix.rows())),
      columns_(static_cast<std::size_t>(matrix.columns())),
      blocks_(ceil_divide(columns_, kBlockColumns)),
      panels_(ceil_divide(rows_, kPanelRows)) {
  const Layout& layout = matrix.layout();
  code_ = code_of(*matrix.format());
  if (code_ >= PanelCode::f16) {
    shape_.groups = blocks_;
    shape_.blocks_in_group = 1;
    panel_bytes_ = blocks_ * kBlockColumns * kPanelRows * 2;
  } else {
    const CodeLine line = *matrix.format()->code_line();
    shape_.groups = columns_ / layout.run;
    shape_.subscaled = line.superblock > 0;
    shape_.blocks_in_group = blocks_ / shape_.groups;
    Code lowest = line.first;
    if (!line.levels.empty()) {
      lowest = std::ranges::min(line.levels);
      std::ranges::transform(line.levels, shape_.levels,
                             [&](Code level) { return static_cast<std::uint8_t>(level - lowest); });
    }
    shape_.zero = static_cast<float>(line.zero - lowest);
    shape_.offset = line.offset == CodeLine::Offset::fixed_zero ? PanelOffset::fixed_zero
                    : line.offset == CodeLine::Offset::bias     ? PanelOffset::bias
                                                                : PanelOffset::zero;
  }
  // Most parameters are f16 or bf16 and stay so; which of them only the parameters themselves can tell.
  for (const PanelFloat type : {PanelFloat::f16, PanelFloat::bf16, PanelFloat::f32}) {
    shape_.params = type;
    if (shape_.subscaled) {
      const std::size_t parameters = shape_.offset == PanelOffset::bias ? 2 : 1;
      panel_bytes_ = blocks_ / kBlocksInSuperblock * parameters * kPanelRows * 2 +
                     shape_.groups * parameters * kPanelRows + blocks_ * block_bytes_of(code_);
    } else if (layout.has_params) {
      const std::size_t parameters = shape_.offset == PanelOffset::fixed_zero ? 1 : 2;
      panel_bytes_ = shape_.groups * (parameters * kPanelRows * bytes_of(type) +
                                      shape_.blocks_in_group * block_bytes_of(code_));
    }
    bytes_.release();
    bytes_ = MemoryBlock(slab_memory(), panels_ * panel_bytes_);
    std::atomic<bool> exact{true};
    const Packer packer(matrix, *this);
    parallel_for(panels_, [&](std::size_t panel) {
      if (exact && !packer.pack(panel, bytes_.data() + panel * panel_bytes_)) exact = false;
    });
    if (exact) break;
  }
  matrix.leave_pages();
}

}  // namespace assay::cpu
