// The loops of panel kernels, written once over the lanes of an instruction set: included by one source per
// instruction set, which has defined `Lanes` in an anonymous namespace. No include guard on purpose, no includes:
// everything here must be that source's own.
//
// Lanes: F (16 floats), I (16 words of 32 bits), and
//   F zero(); F load(const float*); void store(float*, F); F broadcast(const float*);
//   F add(F, F); F fma(F a, F b, F c) = a b + c; F negated_fma(F a, F b, F c) = c - a b;
//   I words(const std::byte*); I masked(I, std::uint32_t); I down(I, int); I either(I, I);
//   F converted(I): of signed words;  F halves(const std::byte*, PanelFloat): 16 of 2 or 4 bytes
//   void prefetch(const std::byte*)

constexpr std::size_t kPrefetch = 2048;  // bytes ahead, within what the hardware does not fetch by itself
constexpr std::size_t kLine = 64;

template <int Bits, int Column>
INLINE Lanes::F code_at(Lanes::I word) {
  constexpr CodePlace kPlace = place_of(Bits, Column);
  constexpr std::uint32_t kMask = (std::uint32_t{1} << Bits) - 1;
  if constexpr (is_shifted_down(Bits, kPlace)) return Lanes::converted(Lanes::down(word, kPlace.shift));
  return Lanes::converted(Lanes::masked(word, kMask << kPlace.shift));
}

/// The digits at the top of word `Word`, put where the leftover codes have them.
template <int Bits, int Word>
INLINE Lanes::I leftover_digit(Lanes::I word) {
  constexpr int kWidth = leftover_bits(Bits), kTop = 32 - kWidth;
  if constexpr (Word == 0) return Lanes::down(word, kTop);
  return Lanes::down(Lanes::masked(word, ~std::uint32_t{0} << kTop), kTop - kWidth * Word);
}

/// visit(column constant, weight code as floats) over a block.
template <int Bits, int Word, int InWord, class Visit>
INLINE void visit_word(Lanes::I word, const Visit& visit) {
  if constexpr (InWord < codes_in_word(Bits)) {
    constexpr int kColumn = Word * codes_in_word(Bits) + InWord;
    visit.template operator()<kColumn>(code_at<Bits, kColumn>(word));
    visit_word<Bits, Word, InWord + 1>(word, visit);
  }
}

template <int Bits, int Column, class Visit>
INLINE void visit_leftovers(Lanes::I leftovers, const Visit& visit) {
  if constexpr (Column < static_cast<int>(kBlockColumns)) {
    visit.template operator()<Column>(code_at<Bits, Column>(leftovers));
    visit_leftovers<Bits, Column + 1>(leftovers, visit);
  }
}

template <int Bits, int Word, class Visit>
INLINE void visit_words(const std::byte* block, Lanes::I leftovers, const Visit& visit) {
  if constexpr (Word < Bits) {
    const Lanes::I word = Lanes::words(block + Word * kPanelRows * 4);
    visit_word<Bits, Word, 0>(word, visit);
    if constexpr (leftover_bits(Bits) == 0)
      visit_words<Bits, Word + 1>(block, word, visit);
    else if constexpr (Word == 0)
      visit_words<Bits, 1>(block, leftover_digit<Bits, 0>(word), visit);
    else
      visit_words<Bits, Word + 1>(block, Lanes::either(leftovers, leftover_digit<Bits, Word>(word)), visit);
  } else if constexpr (leftover_bits(Bits) != 0) {
    visit_leftovers<Bits, codes_in_word(Bits) * Bits>(leftovers, visit);
  }
}

template <int Bits, class Visit>
INLINE void visit_block(const std::byte* block, const Visit& visit) {
  for (std::size_t line = 0; line < Bits * kPanelRows * 4; line += kLine) Lanes::prefetch(block + kPrefetch + line);
  visit_words<Bits, 0>(block, Lanes::I{}, visit);
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

template <int Bits, int Tokens>
void few_of_codes(const PanelView& panel, const FewTokens& x, float* y) {
  const std::byte* at = panel.data;
  Lanes::F totals[Tokens];
  for (Lanes::F& total : totals) total = Lanes::zero();
  const float* column = x.x;
  for (std::size_t group = 0; group < panel.groups; ++group) {
    const std::byte* scales = at;
    at += parameter_bytes(panel);
    Sums<Tokens> sums;
    for (std::size_t block = 0; block < panel.blocks_in_group; ++block) {
      visit_block<Bits>(at, [&]<int Column>(Lanes::F code) __attribute__((always_inline)) {
        for (int token = 0; token < Tokens; ++token) {
          Lanes::F& sum = sums.chain[token][Column % Sums<Tokens>::kChains];
          sum = Lanes::fma(code, Lanes::broadcast(column + token * x.stride + Column), sum);
        }
      });
      at += Bits * kPanelRows * 4;
      column += kBlockColumns;
    }
    const Lanes::F scale = Lanes::halves(scales, panel.params);
    const std::byte* offsets = scales + kPanelRows * float_bytes(panel.params);
    for (int token = 0; token < Tokens; ++token) {
      const Lanes::F sum_of_x = Lanes::broadcast(x.sums + token * x.sums_stride + group);
      Lanes::F sum = sums.of(token);
      if (panel.offset == PanelOffset::bias)
        totals[token] = Lanes::fma(Lanes::halves(offsets, panel.params), sum_of_x, totals[token]);
      else if (panel.offset == PanelOffset::zero)
        sum = Lanes::negated_fma(Lanes::halves(offsets, panel.params), sum_of_x, sum);
      else
        sum = Lanes::negated_fma(Lanes::broadcast(&panel.zero), sum_of_x, sum);
      totals[token] = Lanes::fma(scale, sum, totals[token]);
    }
  }
  for (int token = 0; token < Tokens; ++token) Lanes::store(y + token * kPanelRows, totals[token]);
}

template <int Bits>
void unpack_codes(const PanelView& panel, std::size_t first, std::size_t count, float* out) {
  const std::size_t block_bytes = Bits * kPanelRows * 4;
  const std::size_t group_bytes = parameter_bytes(panel) + panel.blocks_in_group * block_bytes;
  for (std::size_t block = first; block < first + count; ++block, out += kBlockColumns * kPanelRows) {
    const std::byte* group = panel.data + block / panel.blocks_in_group * group_bytes;
    const std::byte* offsets = group + kPanelRows * float_bytes(panel.params);
    const Lanes::F scale = Lanes::halves(group, panel.params);
    // As the format decodes: (code - zero) * scale, or code * scale + bias.
    Lanes::F bias = Lanes::zero(), zero = Lanes::broadcast(&panel.zero);
    if (panel.offset == PanelOffset::bias) bias = Lanes::halves(offsets, panel.params);
    if (panel.offset == PanelOffset::zero) zero = Lanes::halves(offsets, panel.params);
    const std::byte* codes = group + parameter_bytes(panel) + block % panel.blocks_in_group * block_bytes;
    visit_block<Bits>(codes, [&]<int Column>(Lanes::F code) __attribute__((always_inline)) {
      constexpr CodePlace kPlace = place_of(Bits, Column);
      constexpr float kUnshift = is_shifted_down(Bits, kPlace) ? 1.0f : 1.0f / (std::uint32_t{1} << kPlace.shift);
      const Lanes::F steps = Lanes::negated_fma(Lanes::one(), zero, Lanes::multiply(code, Lanes::all(kUnshift)));
      Lanes::store(out + Column * kPanelRows, Lanes::fma(steps, scale, bias));
    });
  }
}

template <PanelFloat Type, int Tokens>
void few_of_halves(const PanelView& panel, const FewTokens& x, float* y) {
  constexpr int kChains = Tokens == 1 ? 4 : Tokens == 2 ? 2 : 1;
  Lanes::F sums[Tokens][kChains];
  for (auto& token : sums)
    for (Lanes::F& sum : token) sum = Lanes::zero();
  const std::size_t columns = panel.groups * kBlockColumns;
  const std::byte* at = panel.data;
  for (std::size_t column = 0; column < columns; column += kChains) {
    Lanes::prefetch(at + kPrefetch);
    for (int i = 0; i < kChains; ++i, at += 2 * kPanelRows) {
      const Lanes::F weight = Lanes::halves(at, Type);
      for (int token = 0; token < Tokens; ++token)
        sums[token][i] =
            Lanes::fma(weight, Lanes::broadcast(x.x + token * x.stride + column + i), sums[token][i]);
    }
  }
  for (int token = 0; token < Tokens; ++token) {
    for (int i = 1; i < kChains; ++i) sums[token][0] = Lanes::add(sums[token][0], sums[token][i]);
    Lanes::store(y + token * kPanelRows, sums[token][0]);
  }
}

template <PanelFloat Type>
void unpack_halves(const PanelView& panel, std::size_t first, std::size_t count, float* out) {
  const std::byte* at = panel.data + first * kBlockColumns * kPanelRows * 2;
  for (std::size_t i = 0; i < count * kBlockColumns; ++i, at += 2 * kPanelRows, out += kPanelRows)
    Lanes::store(out, Lanes::halves(at, Type));
}

template <int Tokens>
void multiply_tile(const float* weights, std::size_t columns, const float* x, std::size_t x_stride, float* y,
                   std::size_t y_stride, bool add) {
  Lanes::F sums[Tokens];
  for (int token = 0; token < Tokens; ++token)
    sums[token] = add ? Lanes::load(y + token * y_stride) : Lanes::zero();
  for (std::size_t column = 0; column < columns; ++column, weights += kPanelRows) {
    const Lanes::F weight = Lanes::load(weights);
    for (int token = 0; token < Tokens; ++token)
      sums[token] = Lanes::fma(weight, Lanes::broadcast(x + token * x_stride + column), sums[token]);
  }
  for (int token = 0; token < Tokens; ++token) Lanes::store(y + token * y_stride, sums[token]);
}

template <int Bits>
constexpr PanelKernel codes_kernel() {
  return {{few_of_codes<Bits, 1>, few_of_codes<Bits, 2>, few_of_codes<Bits, 3>, few_of_codes<Bits, 4>},
          unpack_codes<Bits>};
}
template <PanelFloat Type>
constexpr PanelKernel halves_kernel() {
  return {{few_of_halves<Type, 1>, few_of_halves<Type, 2>, few_of_halves<Type, 3>, few_of_halves<Type, 4>},
          unpack_halves<Type>};
}

constexpr PanelKernels kKernels = {
    {{}, codes_kernel<1>(), codes_kernel<2>(), codes_kernel<3>(), codes_kernel<4>(), codes_kernel<5>(),
     codes_kernel<6>(), codes_kernel<7>(), codes_kernel<8>(), halves_kernel<PanelFloat::f16>(),
     halves_kernel<PanelFloat::bf16>()},
    {multiply_tile<1>, multiply_tile<2>, multiply_tile<3>, multiply_tile<4>, multiply_tile<5>,
     multiply_tile<6>}};
