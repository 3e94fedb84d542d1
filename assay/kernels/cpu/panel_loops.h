// The loops of panel kernels, written once over the lanes of an instruction set: included by one source per
// instruction set, which has defined `Lanes` in an anonymous namespace. No include guard on purpose, no
// includes: everything here must be that source's own.
//
// Lanes: F (16 floats), I (16 words of 32 bits), and
//   F zero(); F all(float); F load(const float*); void store(float*, F); F broadcast(const float*);
//   F add(F, F); F multiply(F, F); F fma(F a, F b, F c) = a b + c; F negated_fma(F a, F b, F c) = c - a b;
//   I words(const std::byte*); I no_words(); I masked(I, std::uint32_t); I down(I, int); I either(I, I);
//   I up(I, int); I halves_down(I, int): of 16 bits each
//   I steps(const std::int16_t*): two, to all lanes; I add_products(I sums, I codes, I steps): of both halves
//   I quad(const std::int8_t*): four, to all lanes; I add_quads(I sums, I codes, I quad): of all four bytes,
//   codes below 128; F converted_quads(I sums), the sums of at most 2^15 in magnitude
//   F converted(I): of signed words;  F parameters(const std::byte*, PanelFloat): 16 of 2 or 4 bytes
//   I looked_up(I bytes below 16, const std::uint8_t* table of 16)
//   F signed_bytes(const std::byte*), unsigned_bytes(const std::byte*): 16;  void prefetch(const std::byte*)

constexpr std::size_t kPrefetch = 2048;  // bytes ahead, within what the hardware does not fetch by itself
constexpr std::size_t kLine = 64;
constexpr std::size_t kWordBytes = kPanelRows * 4;
constexpr std::size_t block_bytes(PanelCode code) {
  return static_cast<std::size_t>(words_of(code)) * kWordBytes;
}

/// visit.operator()<0>(), <1>, ... <Count - 1>.
template <int Count, int Index = 0, class Visit>
INLINE void for_constants(const Visit& visit) {
  if constexpr (Index < Count) {
    visit.template operator()<Index>();
    for_constants<Count, Index + 1>(visit);
  }
}
#define VISIT __attribute__((always_inline))

constexpr std::uint32_t in_each_byte(std::uint32_t mask) {
  return mask * 0x01010101;
}
constexpr std::uint32_t mask_of(int bits) {
  return (std::uint32_t{1} << bits) - 1;
}

/// The digits at the top of a word's bytes, put where a register of leftovers has them.
template <int Bits, int Word>
INLINE Lanes::I leftover_digits(Lanes::I word) {
  constexpr int kWidth = digit_bits(Bits), kIndex = Word % words_in_leftover(Bits);
  return Lanes::masked(Lanes::down(word, 8 - kWidth * (kIndex + 1)),
                       in_each_byte(mask_of(kWidth) << kWidth * kIndex));
}

/// visit.operator()<first quad, quads>(register) over the registers of a block of codes of `Bits`.
template <int Bits, class Visit>
INLINE void visit_line(const std::byte* block, const Visit& visit) {
  constexpr int kQuads = quads_in_word(Bits);
  Lanes::I leftovers = Lanes::no_words();
  for_constants<Bits>([&]<int Word>() VISIT {
    const Lanes::I word = Lanes::words(block + Word * kWordBytes);
    visit.template operator()<Word * kQuads, kQuads>(word);
    if constexpr (leftover_registers(Bits) > 0) {
      constexpr int kWords = words_in_leftover(Bits), kLeft = quads_in_leftover(Bits);
      const Lanes::I digits = leftover_digits<Bits, Word>(word);
      leftovers = Word % kWords == 0 ? digits : Lanes::either(leftovers, digits);
      if constexpr (Word % kWords == kWords - 1)
        visit.template operator()<Bits * kQuads + Word / kWords * kLeft, kLeft>(leftovers);
    }
  });
}

constexpr int kNibble = 4;

/// Half a word, as bytes.
template <int High>
INLINE Lanes::I nibbles(Lanes::I word) {
  return Lanes::masked(High == 0 ? word : Lanes::down(word, kNibble), in_each_byte(mask_of(kNibble)));
}

/// The same of codes of 5 bits: what lies in two planes becomes a register for each quad.
template <class Visit>
INLINE void visit_planes(const std::byte* block, const Visit& visit) {
  const Lanes::I tops = Lanes::words(block + kNibble * kWordBytes);
  for_constants<kQuadsInBlock>([&]<int Quad>() VISIT {
    const Lanes::I low = nibbles<Quad % 2>(Lanes::words(block + Quad / 2 * kWordBytes));
    const Lanes::I moved =
        Quad < kNibble ? Lanes::up(tops, kNibble - Quad) : Lanes::down(tops, Quad - kNibble);
    visit.template operator()<Quad, 1>(Lanes::either(low, Lanes::masked(moved, in_each_byte(1 << kNibble))));
  });
}

/// The same of names: half a word becomes a word of 8-bit codes.
template <class Visit>
INLINE void visit_levels(const std::uint8_t* levels, const std::byte* block, const Visit& visit) {
  for_constants<kQuadsInBlock>([&]<int Quad>() VISIT {
    const Lanes::I word = Lanes::words(block + Quad / 2 * kWordBytes);
    visit.template operator()<Quad, 1>(Lanes::looked_up(nibbles<Quad % 2>(word), levels));
  });
}

/// visit.operator()<first quad, quads>(register) over the registers of a block.
template <PanelCode Code, class Visit>
INLINE void visit_block(const PanelView& panel, const std::byte* block, const Visit& visit) {
  for (std::size_t line = 0; line < block_bytes(Code); line += kLine)
    Lanes::prefetch(block + kPrefetch + line);
  if constexpr (Code == PanelCode::levels)
    visit_levels(panel.levels, block, visit);
  else if constexpr (bits_of(Code) == kBitsInPlanes)
    visit_planes(block, visit);
  else
    visit_line<bits_of(Code)>(block, visit);
}

/// visit.operator()<column>(its code as floats, times 2^bits that it stands at) over a block.
template <PanelCode Code, class Visit>
INLINE void visit_codes(const PanelView& panel, const std::byte* block, const Visit& visit) {
  constexpr int kBits = bits_of(Code);
  visit_block<Code>(panel, block, [&]<int First, int Quads>(Lanes::I reg) VISIT {
    for_constants<4 * Quads>([&]<int Index>() VISIT {
      constexpr int kColumn = 4 * First + Index;
      constexpr CodePlace kPlace = place_of(kBits, kColumn);
      if constexpr (is_shifted_down(kBits, kPlace))
        visit.template operator()<kColumn>(Lanes::converted(Lanes::down(reg, kPlace.shift)));
      else
        visit.template operator()<kColumn>(
            Lanes::converted(Lanes::masked(reg, mask_of(kBits) << kPlace.shift)));
    });
  });
}

INLINE std::size_t float_bytes(PanelFloat type) {
  return type == PanelFloat::f32 ? 4 : 2;
}
INLINE std::size_t parameter_bytes(const PanelView& panel) {
  return kPanelRows * float_bytes(panel.params) * (panel.offset == PanelOffset::fixed_zero ? 1 : 2);
}

/// Sums of one group for each token, on as many chains as registers allow.
template <int Tokens>
struct Sums {
  static constexpr int kChains = Tokens <= 2 ? 2 : 1;
  Lanes::F chain[Tokens][kChains];

  INLINE Sums() {
    for (auto& token : chain)
      for (Lanes::F& sum : token) sum = Lanes::zero();
  }
  INLINE Lanes::F of(int token) const {
    if constexpr (kChains == 1) return chain[token][0];
    return Lanes::add(chain[token][0], chain[token][kChains - 1]);
  }
};

/// totals += scale (sum - zero sum of x), or scale sum + bias sum of x: what a group adds.
template <int Tokens>
INLINE void add_group(const PanelView& panel, const std::byte* scales, const float* sums_of_x,
                      std::size_t groups, const Lanes::F (&sums)[Tokens], Lanes::F (&totals)[Tokens]) {
  const Lanes::F scale = Lanes::parameters(scales, panel.params);
  const std::byte* offsets = scales + kPanelRows * float_bytes(panel.params);
  for (int token = 0; token < Tokens; ++token) {
    const Lanes::F sum_of_x = Lanes::broadcast(sums_of_x + token * groups);
    Lanes::F sum = sums[token];
    if (panel.offset == PanelOffset::bias)
      totals[token] = Lanes::fma(Lanes::parameters(offsets, panel.params), sum_of_x, totals[token]);
    else if (panel.offset == PanelOffset::zero)
      sum = Lanes::negated_fma(Lanes::parameters(offsets, panel.params), sum_of_x, sum);
    else
      sum = Lanes::negated_fma(Lanes::broadcast(&panel.zero), sum_of_x, sum);
    totals[token] = Lanes::fma(scale, sum, totals[token]);
  }
}

template <PanelCode Code, int Tokens>
void few_of_codes(const PanelView& panel, const FewTokens& x, float* y) {
  const std::byte* at = panel.data;
  Lanes::F totals[Tokens];
  for (Lanes::F& total : totals) total = Lanes::zero();
  const float* columns = x.x;
  const std::size_t stride = x.blocks * kBlockColumns;
  for (std::size_t group = 0; group < panel.groups; ++group) {
    const std::byte* scales = at;
    at += parameter_bytes(panel);
    Sums<Tokens> sums;
    for (std::size_t block = 0; block < panel.blocks_in_group; ++block) {
      visit_codes<Code>(panel, at, [&]<int Column>(Lanes::F code) VISIT {
        for (int token = 0; token < Tokens; ++token) {
          Lanes::F& sum = sums.chain[token][Column % Sums<Tokens>::kChains];
          sum = Lanes::fma(code, Lanes::broadcast(columns + token * stride + Column), sum);
        }
      });
      at += block_bytes(Code);
      columns += kBlockColumns;
    }
    Lanes::F of_group[Tokens];
    for (int token = 0; token < Tokens; ++token) of_group[token] = sums.of(token);
    add_group<Tokens>(panel, scales, x.sums + group, x.groups, of_group, totals);
  }
  for (int token = 0; token < Tokens; ++token) Lanes::store(y + token * kPanelRows, totals[token]);
}

// Codes that are multiplied where they stand in a half, one above the other: their sums are kept apart. More
// would take registers, and products of what stands higher would not fit the 31 bits of a block's sums: now
// they are below 2^30.
constexpr int standing_codes(int bits) {
  return bits <= 4 ? 2 : 1;
}

/// sums[token][part][i] += codes standing at i x Bits times their steps, of one register; the parts are equal
/// runs of a block's columns.
template <int Bits, int First, int Quads, int Tokens, int Parts>
INLINE void add_register(Lanes::I reg, const std::int16_t* steps, std::size_t stride,
                         Lanes::I (&sums)[Tokens][Parts][standing_codes(Bits)]) {
  for_constants<2 * Quads>([&]<int Pair>() VISIT {  // of the low bytes of halves, then of the high ones
    constexpr int kQuad = Pair % Quads, kHigh = Pair / Quads, kPlace = kQuad % standing_codes(Bits);
    constexpr int kShift = 8 * kHigh + (kQuad - kPlace) * Bits;
    constexpr int kPart = (First + kQuad) * Parts / kQuadsInBlock;
    constexpr std::uint32_t kMask = mask_of(Bits) << kPlace * Bits;
    Lanes::I codes = kShift == 0 ? reg : Lanes::halves_down(reg, kShift);
    if constexpr (kPlace > 0 || kShift + Bits < 16) codes = Lanes::masked(codes, kMask | kMask << 16);
    for (int token = 0; token < Tokens; ++token) {
      Lanes::I& sum = sums[token][kPart][kPlace];
      const std::int16_t* at = steps + token * stride + 4 * (First + kQuad) + 2 * kHigh;
      sum = Lanes::add_products(sum, codes, Lanes::steps(at));
    }
  });
}

/// of_part[token][part] = codes times steps, of one block.
template <PanelCode Code, int Tokens, int Parts>
INLINE void multiply_steps(const PanelView& panel, const std::byte* block, const std::int16_t* steps,
                           std::size_t stride, Lanes::F (&of_part)[Tokens][Parts]) {
  constexpr int kBits = bits_of(Code), kStanding = standing_codes(kBits);
  Lanes::I sums[Tokens][Parts][kStanding];
  for (auto& token : sums)
    for (auto& part : token)
      for (Lanes::I& sum : part) sum = Lanes::no_words();
  visit_block<Code>(panel, block, [&]<int First, int Quads>(Lanes::I reg) VISIT {
    add_register<kBits, First, Quads, Tokens, Parts>(reg, steps, stride, sums);
  });
  for (int token = 0; token < Tokens; ++token)
    for (int part = 0; part < Parts; ++part) {
      Lanes::F& sum = of_part[token][part];
      sum = Lanes::converted(sums[token][part][0]);
      if constexpr (kStanding == 2)
        sum = Lanes::fma(Lanes::converted(sums[token][part][1]), Lanes::all(1.0f / (1 << kBits)), sum);
    }
}

// Sums of quads take 16 bits: of so many of them none overflows.
constexpr int kLargestByte = 127;
constexpr int quads_in_sum(int bits) {
  const int quads = 32767 / (2 * kLargestByte * static_cast<int>(mask_of(bits)));
  return quads >= kQuadsInBlock ? kQuadsInBlock : quads >= kQuadsInBlock / 2 ? kQuadsInBlock / 2 : 0;
}
/// of_part[token][part] = codes times bytes, of one block.
template <PanelCode Code, int Tokens, int Parts>
INLINE void multiply_bytes(const PanelView& panel, const std::byte* block, const std::int8_t* bytes,
                           std::size_t stride, Lanes::F (&of_part)[Tokens][Parts]) {
  constexpr int kBits = bits_of(Code), kByRange = kQuadsInBlock / quads_in_sum(kBits);
  constexpr int kSums = kByRange > Parts ? kByRange : Parts;
  Lanes::I sums[Tokens][kSums];
  for (auto& token : sums)
    for (Lanes::I& sum : token) sum = Lanes::no_words();
  visit_block<Code>(panel, block, [&]<int First, int Quads>(Lanes::I reg) VISIT {
    for_constants<Quads>([&]<int Index>() VISIT {
      constexpr int kQuad = First + Index;
      const Lanes::I codes =
          Lanes::masked(Index == 0 ? reg : Lanes::down(reg, Index * kBits), in_each_byte(mask_of(kBits)));
      for (int token = 0; token < Tokens; ++token) {
        Lanes::I& sum = sums[token][kQuad * kSums / kQuadsInBlock];
        sum = Lanes::add_quads(sum, codes, Lanes::quad(bytes + token * stride + 4 * kQuad));
      }
    });
  });
  for (int token = 0; token < Tokens; ++token)
    for (int part = 0; part < Parts; ++part) {
      constexpr int kInPart = kSums / Parts;
      Lanes::F& sum = of_part[token][part];
      sum = Lanes::converted_quads(sums[token][part * kInPart]);
      for (int i = 1; i < kInPart; ++i)
        sum = Lanes::add(sum, Lanes::converted_quads(sums[token][part * kInPart + i]));
    }
}

/// Codes times steps of 8 or 16 bits, times the steps' size, of block `block` of x.
template <bool Bytes, PanelCode Code, int Tokens, int Parts>
INLINE void multiply_rounded(const PanelView& panel, const std::byte* at, const FewTokens& x,
                             std::size_t block, Lanes::F (&of_part)[Tokens][Parts]) {
  const std::size_t stride = x.blocks * kBlockColumns;
  if constexpr (Bytes)
    multiply_bytes<Code>(panel, at, x.bytes + block * kBlockColumns, stride, of_part);
  else
    multiply_steps<Code>(panel, at, x.steps + block * kBlockColumns, stride, of_part);
}

template <PanelCode Code, int Tokens, bool Bytes>
void few_rounded_of_codes(const PanelView& panel, const FewTokens& x, float* y) {
  const std::byte* at = panel.data;
  Lanes::F totals[Tokens];
  for (Lanes::F& total : totals) total = Lanes::zero();
  std::size_t block = 0;
  for (std::size_t group = 0; group < panel.groups; ++group) {
    const std::byte* scales = at;
    at += parameter_bytes(panel);
    Lanes::F of_group[Tokens];
    for (Lanes::F& sum : of_group) sum = Lanes::zero();
    for (const std::size_t end = block + panel.blocks_in_group; block < end; ++block) {
      Lanes::F of_block[Tokens][1];
      multiply_rounded<Bytes, Code>(panel, at, x, block, of_block);
      for (int token = 0; token < Tokens; ++token)
        of_group[token] = Lanes::fma(of_block[token][0], Lanes::broadcast(x.sizes + token * x.blocks + block),
                                     of_group[token]);
      at += block_bytes(Code);
    }
    add_group<Tokens>(panel, scales, x.sums + group, x.groups, of_group, totals);
  }
  for (int token = 0; token < Tokens; ++token) Lanes::store(y + token * kPanelRows, totals[token]);
}

template <PanelCode Code>
void unpack_codes(const PanelView& panel, std::size_t blocks, float* out, std::size_t stride) {
  constexpr int kBits = bits_of(Code);
  const std::size_t group_bytes = parameter_bytes(panel) + panel.blocks_in_group * block_bytes(Code);
  for (std::size_t block = 0; block < blocks; ++block, out += kBlockColumns * stride) {
    const std::byte* group = panel.data + block / panel.blocks_in_group * group_bytes;
    const std::byte* offsets = group + kPanelRows * float_bytes(panel.params);
    const Lanes::F scale = Lanes::parameters(group, panel.params);
    // As the format decodes: (code - zero) * scale, or code * scale + bias.
    Lanes::F bias = Lanes::zero(), zero = Lanes::broadcast(&panel.zero);
    if (panel.offset == PanelOffset::bias) bias = Lanes::parameters(offsets, panel.params);
    if (panel.offset == PanelOffset::zero) zero = Lanes::parameters(offsets, panel.params);
    const std::byte* codes =
        group + parameter_bytes(panel) + block % panel.blocks_in_group * block_bytes(Code);
    visit_codes<Code>(panel, codes, [&]<int Column>(Lanes::F code) VISIT {
      constexpr CodePlace kPlace = place_of(kBits, Column);
      constexpr float kUnshift =
          is_shifted_down(kBits, kPlace) ? 1.0f : 1.0f / (std::uint32_t{1} << kPlace.shift);
      const Lanes::F steps =
          Lanes::negated_fma(Lanes::all(1.0f), zero, Lanes::multiply(code, Lanes::all(kUnshift)));
      Lanes::store(out + Column * stride, Lanes::fma(steps, scale, bias));
    });
  }
}

template <PanelFloat Type, int Tokens>
void few_of_halves(const PanelView& panel, const FewTokens& x, float* y) {
  constexpr int kChains = Tokens == 1 ? 4 : Tokens == 2 ? 2 : 1;
  Lanes::F sums[Tokens][kChains];
  for (auto& token : sums)
    for (Lanes::F& sum : token) sum = Lanes::zero();
  const std::size_t columns = panel.groups * kBlockColumns, stride = columns;
  const std::byte* at = panel.data;
  for (std::size_t column = 0; column < columns; column += kChains) {
    Lanes::prefetch(at + kPrefetch);
    for (int i = 0; i < kChains; ++i, at += 2 * kPanelRows) {
      const Lanes::F weight = Lanes::parameters(at, Type);
      for (int token = 0; token < Tokens; ++token)
        sums[token][i] =
            Lanes::fma(weight, Lanes::broadcast(x.x + token * stride + column + i), sums[token][i]);
    }
  }
  for (int token = 0; token < Tokens; ++token) {
    for (int i = 1; i < kChains; ++i) sums[token][0] = Lanes::add(sums[token][0], sums[token][i]);
    Lanes::store(y + token * kPanelRows, sums[token][0]);
  }
}

template <PanelFloat Type>
void unpack_halves(const PanelView& panel, std::size_t blocks, float* out, std::size_t stride) {
  const std::byte* at = panel.data;
  for (std::size_t i = 0; i < blocks * kBlockColumns; ++i, at += 2 * kPanelRows, out += stride)
    Lanes::store(out, Lanes::parameters(at, Type));
}

/// entry.operator()<tokens>() for every number of tokens.
template <class Entry>
constexpr void fill(void (*(&table)[kFewTokens])(const PanelView&, const FewTokens&, float*), Entry entry) {
  table[0] = entry.template operator()<1>();
  table[1] = entry.template operator()<2>();
  table[2] = entry.template operator()<3>();
  table[3] = entry.template operator()<4>();
}

template <PanelCode Code>
constexpr PanelKernel codes_kernel() {
  PanelKernel kernel{{}, {}, {}, unpack_codes<Code>};
  fill(kernel.few, []<int Tokens>() { return few_of_codes<Code, Tokens>; });
  fill(kernel.few_steps, []<int Tokens>() { return few_rounded_of_codes<Code, Tokens, false>; });
  if constexpr (takes_bytes(Code))
    fill(kernel.few_bytes, []<int Tokens>() { return few_rounded_of_codes<Code, Tokens, true>; });
  return kernel;
}
template <PanelFloat Type>
constexpr PanelKernel halves_kernel() {
  PanelKernel kernel{{}, {}, {}, unpack_halves<Type>};
  fill(kernel.few, []<int Tokens>() { return few_of_halves<Type, Tokens>; });
  return kernel;
}
