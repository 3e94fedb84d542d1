#include "assay/rounding/transcode.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>

#include "assay/base/error.h"
#include "assay/formats/table.h"
#include "assay/parallel/threads.h"
#include "assay/storage/tensor_blocks.h"

namespace assay {
namespace {

/// How codes of one grid become codes of another: q' = sign * q + shift.
struct CodeMap {
  Code sign, shift;
};

bool in_range(Code code, const AffineView& view) {
  return code >= view.first_code && code < view.first_code + view.codes;
}

/// (q - zero) * scale + bias on both sides: the bias that makes q' = sign * q + shift stand for the same
/// weight.
Params mapped_params(const AffineView& from, const AffineView& to, const Params& params, const CodeMap& map) {
  const double scale = map.sign * static_cast<double>(params.scale);
  const double bias = static_cast<double>(params.bias) - static_cast<double>(params.scale) * from.zero +
                      scale * (to.zero - map.shift);
  return {static_cast<float>(scale), static_cast<float>(bias)};
}

struct AffinePair {
  const Format& to;
  AffineView from_view, to_view;
};

/// One unit. `weights` are its decoded values under `from`; `scratch` has the same size.
bool transcode_affine_unit(const AffinePair& pair, const Params& params, std::span<const Code> codes,
                           std::span<const float> weights, Params& params_to, std::span<Code> codes_to,
                           std::span<float> scratch) {
  const Format& to = pair.to;
  const AffineView& from_view = pair.from_view;
  const AffineView& to_view = pair.to_view;
  const auto accepts = [&](const Params& candidate) {
    const auto stored = to.store(candidate.scale, candidate.bias);
    if (!stored || stored->scale != candidate.scale || stored->bias != candidate.bias) return false;
    for (const Code code : codes_to)
      if (!in_range(code, to_view)) return false;
    params_to = candidate;
    to.decode({&params_to, 1}, codes_to, scratch);
    return std::ranges::equal(scratch, weights);
  };
  const Code last = from_view.first_code + from_view.codes - 1;
  const Code aligned = to_view.first_code - from_view.first_code;
  const std::array<CodeMap, 5> maps = {{{1, 0},
                                        {1, to_view.zero - from_view.zero},
                                        {1, (from_view.codes + 1) / 2},
                                        {1, -(to_view.codes + 1) / 2},
                                        {-1, to_view.first_code + last}}};
  for (const CodeMap& map : maps) {
    std::ranges::transform(codes, codes_to.begin(), [&](Code code) { return map.sign * code + map.shift; });
    if (accepts(mapped_params(from_view, to_view, params, map))) return true;
  }
  // A scale of zero, or codes that are all alike, carry no scale worth keeping: a constant in any legal way.
  if (std::ranges::all_of(weights, [&](float w) { return w == weights.front(); })) {
    std::ranges::fill(codes_to, to_view.zero);
    if (accepts({1.0f, weights.front()})) return true;
  }
  std::ranges::transform(codes, codes_to.begin(), [&](Code code) { return code + aligned; });
  return accepts(mapped_params(from_view, to_view, params, {1, aligned}));
}

constexpr const char* kPermuted = "its groups are of columns that do not lie together (g_idx)";

std::string describe(const Params& params) {
  return fmt::format("scale {:g}, bias {:g}", params.scale, params.bias);
}

}  // namespace

bool transcode_units(const Format& from, std::span<const Params> params_from,
                     std::span<const Code> codes_from, const Format& to, std::span<Params> params_to,
                     std::span<Code> codes_to, std::string* why) {
  if (from.name() == to.name()) {
    std::ranges::copy(params_from, params_to.begin());
    std::ranges::copy(codes_from, codes_to.begin());
    return true;
  }
  std::vector<float> weights(codes_from.size()), scratch(codes_from.size());
  from.decode(params_from, codes_from, weights);
  if (!to.layout(1).has_params) {  // a float: representable or not
    try {
      to.reference(weights, {}, codes_to);
    } catch (const Error& overflow) {
      *why = overflow.what();
      return false;
    }
    to.decode({}, codes_to, scratch);
    const auto [mine, theirs] = std::ranges::mismatch(weights, scratch);
    if (mine == weights.end()) return true;
    *why = fmt::format("{:g} is not representable", *mine);
    return false;
  }
  if (to.layout(1).units_per_record > 1) {
    *why = "its blocks share what they store";
    return false;
  }
  const auto from_view = from.affine(), to_view = to.affine();
  if (!from_view || !to_view) {
    *why = "the two formats share no grid";
    return false;
  }
  const AffinePair pair{to, *from_view, *to_view};
  const std::size_t run = codes_from.size() / params_from.size();
  for (std::size_t u = 0; u < params_from.size(); ++u)
    if (!transcode_affine_unit(pair, params_from[u], codes_from.subspan(u * run, run),
                               std::span<const float>(weights).subspan(u * run, run), params_to[u],
                               codes_to.subspan(u * run, run), std::span(scratch).subspan(u * run, run))) {
      *why = fmt::format("block {} ({}) has no exact counterpart", u, describe(params_from[u]));
      return false;
    }
  return true;
}

std::optional<std::string> transcode_misfit(const Tensor& tensor, const Format& to) {
  const MatrixShape shape = as_matrix(tensor.shape);
  if (has_permuted_columns(tensor)) return kPermuted;
  if (auto problem = to.misfit(shape.rows, shape.columns)) return problem;
  const Format& from = *tensor.format;
  const Layout from_layout = from.layout(shape.columns), to_layout = to.layout(shape.columns);
  if (!to.can_encode()) return "it can only be read";
  if (from_layout.has_params != to_layout.has_params) return "one has scales and the other has none";
  if (from_layout.has_params && from_layout.run != to_layout.run)
    return fmt::format("groups of {} against {}", from_layout.run, to_layout.run);
  if (from_layout.has_params && from_layout.share != to_layout.share && shape.columns % from_layout.run != 0)
    return "blocks of one straddle rows";
  std::optional<std::string> problem;
  std::mutex mutex;
  const auto blocks = row_blocks(from, shape);
  std::atomic<bool> found = false;
  parallel_for(blocks.size(), [&](std::size_t b) {
    if (found) return;
    UnitBuffer source(from_layout, blocks[b].units), target(to_layout, blocks[b].units);
    read_units(tensor, blocks[b], source);
    std::string why;
    if (transcode_units(from, source.params, source.codes, to, target.params, target.codes, &why)) return;
    found = true;
    const std::lock_guard lock(mutex);
    if (!problem) problem = fmt::format("rows from {}: {}", blocks[b].first_row, why);
  });
  return problem;
}

FormatPtr lossless_format(const Tensor& tensor, Container container, const std::string& origin) {
  if (!tensor.format)
    fail("{}: tensor {}: stored as {}, which no weight format reads", origin, tensor.name,
         dtype_name(tensor.dtype));
  if (has_permuted_columns(tensor))
    fail(
        "{}: tensor {}: {}, which no container that Assay writes can say; quantize instead, and measure the "
        "loss",
        origin, tensor.name, kPermuted);
  const auto own_problem = container_misfit(container, {tensor.name, tensor.shape, tensor.format});
  if (!own_problem) return tensor.format;
  const MatrixShape shape = as_matrix(tensor.shape);
  const double bits = bits_per_weight(*tensor.format, shape.rows, shape.columns);
  std::string reasons;
  for (const FormatPtr& format : all_formats()) {
    if (!format->can_encode() || format->misfit(shape.rows, shape.columns)) continue;
    // Wider would be lossless all too easily, and the model would grow without a word. Vectors weigh nothing.
    if (tensor.shape.size() > 1 && bits_per_weight(*format, shape.rows, shape.columns) > bits + 0.51)
      continue;
    if (container_misfit(container, {tensor.name, tensor.shape, format})) continue;
    const auto problem = transcode_misfit(tensor, *format);
    if (!problem) return format;
    reasons += fmt::format("; {}: {}", format->name(), *problem);
  }
  fail(
      "{}: tensor {}: {} has no lossless form in a {} directory ({}{}); quantize instead, and measure the "
      "loss",
      origin, tensor.name, tensor.format->name(), container_name(container), *own_problem, reasons);
}

}  // namespace assay
