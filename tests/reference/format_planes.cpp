// Quantises f32 values from standard input for comparison with other implementations:
//   format_planes FORMAT COLUMNS < values.f32 > planes
// Writes the planes one after the other, in the order of the format's layout.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "assay/base/error.h"
#include "assay/formats/table.h"

namespace {

using namespace assay;

void quantise(const std::string& name, std::size_t columns) {
  std::vector<float> weights;
  float buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, sizeof(float), std::size(buffer), stdin)) > 0;)
    weights.insert(weights.end(), buffer, buffer + n);
  const FormatPtr format = resolve_format(name, DType::F32);
  const std::size_t rows = weights.size() / columns;
  if (rows * columns != weights.size()) fail("{} values are no whole rows of {}", weights.size(), columns);
  if (const auto why = format->misfit(rows, columns)) fail("{}", *why);

  const Layout layout = format->layout(columns);
  const std::size_t units = unit_count(layout, rows, columns);
  std::vector<Params> params(layout.has_params ? units : 0);
  std::vector<Code> codes(units * layout.run);
  format->reference(weights, params, codes);
  std::vector<std::vector<std::byte>> planes;
  for (const Plane& plane : layout.planes) planes.emplace_back(layout.bytes(plane, units));
  const std::vector<MutableBytes> views(planes.begin(), planes.end());
  format->pack(params, codes, views);
  for (const auto& plane : planes)
    if (std::fwrite(plane.data(), 1, plane.size(), stdout) != plane.size())
      fail("standard output: write failed");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3) fail("usage: format_planes FORMAT COLUMNS < values.f32 > planes");
    const std::size_t columns = std::stoull(argv[2]);
    if (columns == 0) fail("COLUMNS must not be 0");
    quantise(argv[1], columns);
    return 0;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "format_planes: %s\n", problem.what());
    return 1;
  }
}
