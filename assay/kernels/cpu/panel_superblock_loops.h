// The loops of panel kernels over superblocks (panel.h). Included behind panel_loops.h, by the same sources
// and for the same reason without a guard.

/// of_part[token][part] = codes times activations, of one block.
template <PanelCode Code, int Tokens, int Parts>
INLINE void multiply_floats(const PanelView& panel, const std::byte* block, const float* columns,
                            std::size_t stride, Lanes::F (&of_part)[Tokens][Parts]) {
  constexpr int kColumnsInPart = static_cast<int>(kBlockColumns) / Parts;
  for (auto& token : of_part)
    for (Lanes::F& sum : token) sum = Lanes::zero();
  visit_codes<Code>(panel, block, [&]<int Column>(Lanes::F code) VISIT {
    for (int token = 0; token < Tokens; ++token) {
      Lanes::F& sum = of_part[token][Column / kColumnsInPart];
      sum = Lanes::fma(code, Lanes::broadcast(columns + token * stride + Column), sum);
    }
  });
}

/// What a superblock adds, in units of its two numbers.
template <int Tokens>
struct InUnits {
  Lanes::F scaled[Tokens], minima[Tokens];

  INLINE InUnits() {
    for (int token = 0; token < Tokens; ++token) scaled[token] = minima[token] = Lanes::zero();
  }
};

/// of_block[token][part] are the products of a block's groups, whose scales lie at `scales`.
template <int Tokens, int Parts>
INLINE void add_block(const PanelView& panel, const std::byte* scales, const float* sums_of_x,
                      std::size_t groups, const Lanes::F (&of_block)[Tokens][Parts], InUnits<Tokens>& units) {
  for (int part = 0; part < Parts; ++part) {
    const Lanes::F scale = Lanes::signed_bytes(scales + part * kPanelRows);
    for (int token = 0; token < Tokens; ++token) {
      const Lanes::F sum_of_x = Lanes::broadcast(sums_of_x + token * groups + part);
      const Lanes::F sum = Lanes::negated_fma(Lanes::broadcast(&panel.zero), sum_of_x, of_block[token][part]);
      units.scaled[token] = Lanes::fma(scale, sum, units.scaled[token]);
      if (panel.offset == PanelOffset::bias)
        units.minima[token] = Lanes::fma(Lanes::unsigned_bytes(scales + (Parts + part) * kPanelRows),
                                         sum_of_x, units.minima[token]);
    }
  }
}

enum class Meets { floats, steps, bytes };  // what codes are multiplied with

template <PanelCode Code, int Tokens, Meets Kind>
void few_of_superblocks(const PanelView& panel, const FewTokens& x, float* y) {
  constexpr int kParts = groups_in_block(Code);
  const bool has_minima = panel.offset == PanelOffset::bias;
  const std::size_t columns = has_minima ? 2 : 1;  // of parameters
  const std::byte* at = panel.data;
  Lanes::F totals[Tokens];
  for (Lanes::F& total : totals) total = Lanes::zero();
  for (std::size_t block = 0; block < x.blocks;) {
    const std::byte* const worth = at;
    at += columns * kPanelRows * 2;
    InUnits<Tokens> units;
    for (const std::size_t end = block + kBlocksInSuperblock; block < end; ++block) {
      const std::byte* const scales = at;
      at += columns * kParts * kPanelRows;
      Lanes::F of_block[Tokens][kParts];
      if constexpr (Kind == Meets::floats) {
        multiply_floats<Code>(panel, at, x.x + block * kBlockColumns, x.blocks * kBlockColumns, of_block);
      } else {
        multiply_rounded<Kind == Meets::bytes, Code>(panel, at, x, block, of_block);
        for (int token = 0; token < Tokens; ++token)
          for (Lanes::F& sum : of_block[token])
            sum = Lanes::multiply(sum, Lanes::broadcast(x.sizes + token * x.blocks + block));
      }
      add_block<Tokens>(panel, scales, x.sums + block * kParts, x.groups, of_block, units);
      at += block_bytes(Code);
    }
    const Lanes::F scale = Lanes::parameters(worth, PanelFloat::f16);
    for (int token = 0; token < Tokens; ++token)
      totals[token] = Lanes::fma(scale, units.scaled[token], totals[token]);
    if (!has_minima) continue;
    const Lanes::F minimum = Lanes::parameters(worth + kPanelRows * 2, PanelFloat::f16);
    for (int token = 0; token < Tokens; ++token)
      totals[token] = Lanes::negated_fma(minimum, units.minima[token], totals[token]);
  }
  for (int token = 0; token < Tokens; ++token) Lanes::store(y + token * kPanelRows, totals[token]);
}
template <PanelCode Code>
void unpack_superblocks(const PanelView& panel, std::size_t blocks, float* out, std::size_t stride) {
  constexpr int kParts = groups_in_block(Code), kColumnsInPart = static_cast<int>(kBlockColumns) / kParts;
  const bool has_minima = panel.offset == PanelOffset::bias;
  const std::size_t columns = has_minima ? 2 : 1;
  const std::byte* at = panel.data;
  Lanes::F worth = Lanes::zero(), minimum = Lanes::zero();
  for (std::size_t block = 0; block < blocks; ++block, out += kBlockColumns * stride) {
    if (block % kBlocksInSuperblock == 0) {
      worth = Lanes::parameters(at, PanelFloat::f16);
      if (has_minima) minimum = Lanes::parameters(at + kPanelRows * 2, PanelFloat::f16);
      at += columns * kPanelRows * 2;
    }
    Lanes::F scale[kParts], bias[kParts];
    for (int part = 0; part < kParts; ++part) {
      scale[part] = Lanes::multiply(worth, Lanes::signed_bytes(at + part * kPanelRows));
      bias[part] = Lanes::zero();
      if (has_minima)
        bias[part] =
            Lanes::negated_fma(minimum, Lanes::unsigned_bytes(at + (kParts + part) * kPanelRows), bias[part]);
    }
    at += columns * kParts * kPanelRows;
    visit_codes<Code>(panel, at, [&]<int Column>(Lanes::F code) VISIT {
      constexpr CodePlace kPlace = place_of(bits_of(Code), Column);
      constexpr float kUnshift =
          is_shifted_down(bits_of(Code), kPlace) ? 1.0f : 1.0f / (std::uint32_t{1} << kPlace.shift);
      const Lanes::F steps = Lanes::negated_fma(Lanes::all(1.0f), Lanes::broadcast(&panel.zero),
                                                Lanes::multiply(code, Lanes::all(kUnshift)));
      Lanes::store(out + Column * stride,
                   Lanes::fma(steps, scale[Column / kColumnsInPart], bias[Column / kColumnsInPart]));
    });
    at += block_bytes(Code);
  }
}

template <PanelCode Code>
constexpr PanelKernel superblocks_kernel() {
  PanelKernel kernel{{}, {}, {}, unpack_superblocks<Code>};
  fill(kernel.few, []<int Tokens>() { return few_of_superblocks<Code, Tokens, Meets::floats>; });
  fill(kernel.few_steps, []<int Tokens>() { return few_of_superblocks<Code, Tokens, Meets::steps>; });
  if constexpr (takes_bytes(Code))
    fill(kernel.few_bytes, []<int Tokens>() { return few_of_superblocks<Code, Tokens, Meets::bytes>; });
  return kernel;
}

constexpr PanelKernels kKernels = {{{},
                                    codes_kernel<PanelCode::bits1>(),
                                    codes_kernel<PanelCode::bits2>(),
                                    codes_kernel<PanelCode::bits3>(),
                                    codes_kernel<PanelCode::bits4>(),
                                    codes_kernel<PanelCode::bits5>(),
                                    codes_kernel<PanelCode::bits6>(),
                                    codes_kernel<PanelCode::bits7>(),
                                    codes_kernel<PanelCode::bits8>(),
                                    codes_kernel<PanelCode::levels>(),
                                    halves_kernel<PanelFloat::f16>(),
                                    halves_kernel<PanelFloat::bf16>(),
                                    halves_kernel<PanelFloat::gf16>()},
                                   {{},
                                    {},
                                    superblocks_kernel<PanelCode::bits2>(),
                                    superblocks_kernel<PanelCode::bits3>(),
                                    superblocks_kernel<PanelCode::bits4>(),
                                    superblocks_kernel<PanelCode::bits5>(),
                                    superblocks_kernel<PanelCode::bits6>(),
                                    {},
                                    {},
                                    superblocks_kernel<PanelCode::levels>()}};
