// One core. Quantise: bytes of bf16 weights a second into round-to-nearest, widening and packing included.
// Decode: weights a second out of unpacking and decoding. Round: weights a second for nearest codes under
// given parameters. Working sets stay in the second-level cache, as in the converters.
#include <benchmark/benchmark.h>

#include <random>

#include "assay/base/half.h"
#include "assay/formats/table.h"

namespace {

using namespace assay;

constexpr std::size_t kColumns = 4096;
constexpr std::size_t kRows = 16;
constexpr std::size_t kWeights = kRows * kColumns;

struct Buffers {
  explicit Buffers(const Format& format) : source(kWeights), weights(kWeights) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    for (auto& value : source) value = f32_to_bf16(normal(generator));
    const Layout layout = format.layout(kColumns);
    const std::size_t units = unit_count(layout, kRows, kColumns);
    params.resize(layout.has_params ? units : 0);
    codes.resize(units * layout.run);
    for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, units));
    for (auto& plane : planes) {
      writable.emplace_back(plane);
      readable.emplace_back(plane);
    }
  }

  void widen() {
    for (std::size_t i = 0; i < kWeights; ++i) weights[i] = bf16_to_f32(source[i]);
  }

  std::vector<std::uint16_t> source;
  std::vector<float> weights;
  std::vector<Params> params;
  std::vector<Code> codes;
  std::vector<std::vector<std::byte>> planes;
  std::vector<MutableBytes> writable;
  std::vector<Bytes> readable;
};

void encode(benchmark::State& state, const Format& format) {
  Buffers buffers(format);
  for (auto _ : state) {
    buffers.widen();
    format.reference(buffers.weights, buffers.params, buffers.codes);
    format.pack(buffers.params, buffers.codes, buffers.writable);
    benchmark::DoNotOptimize(buffers.planes[0].data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * kWeights * sizeof(std::uint16_t)));
}

void decode(benchmark::State& state, const Format& format) {
  Buffers buffers(format);
  buffers.widen();
  if (format.can_encode()) {
    format.reference(buffers.weights, buffers.params, buffers.codes);
    format.pack(buffers.params, buffers.codes, buffers.writable);
  }
  for (auto _ : state) {
    format.unpack(buffers.readable, buffers.params, buffers.codes);
    format.decode(buffers.params, buffers.codes, buffers.weights);
    benchmark::DoNotOptimize(buffers.weights.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kWeights));
}

// Calibration's inner step: nearest codes under given parameters, one pair per weight.
void round_values(benchmark::State& state, const Format& format) {
  Buffers buffers(format);
  buffers.widen();
  format.reference(buffers.weights, buffers.params, buffers.codes);
  std::vector<Params> spread(buffers.params.empty() ? 0 : kWeights);
  for (std::size_t i = 0; i < spread.size(); ++i)
    spread[i] = buffers.params[i * buffers.params.size() / kWeights];
  std::vector<float> out(kWeights);
  for (auto _ : state) {
    format.round(spread, buffers.weights, buffers.codes, out);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(state.iterations() * kWeights));
}

}  // namespace

int main(int argc, char** argv) {
  for (const char* name :
       {"f16", "bf16", "gf16", "khq4", "khq4-sym", "khw3", "khq3", "mlx2-g64-bf16", "mlx3-g64-bf16",
        "mlx4-g64-bf16", "mlx8-g64-bf16", "q8_0", "q4_0", "q4_1", "int6-row", "int8-row", "mxfp4"}) {
    const FormatPtr format = find_format(name);
    const auto label = [&](const char* what) { return std::string(what) + "/" + name; };
    if (format->can_encode()) {
      benchmark::RegisterBenchmark(label("Quantise").c_str(),
                                   [format](benchmark::State& s) { encode(s, *format); });
      benchmark::RegisterBenchmark(label("Round").c_str(),
                                   [format](benchmark::State& s) { round_values(s, *format); });
    }
    benchmark::RegisterBenchmark(label("Decode").c_str(),
                                 [format](benchmark::State& s) { decode(s, *format); });
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
