#include "assay/ablation/cell.h"

#include <cmath>
#include <tuple>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr int kSchema = 2, kFirstSchema = 1;  // 1: checkpoint_sha256 without the configuration

/// One list of fields for writing and reading.
template <class CellType, class Visitor>
void visit_fields(CellType& cell, Visitor&& visit) {
  auto& setting = cell.setting;
  visit("seed", cell.seed);
  visit("N", cell.batches);
  visit("tokens_per_batch", setting.tokens_per_batch);
  visit("format", cell.format);
  visit("model", setting.model);
  visit("rotated", setting.rotated);
  visit("checkpoint_sha256", setting.checkpoint_sha256);
  visit("calib_sha256", setting.calibration_sha256);
  visit("eval_sha256", setting.evaluation_sha256);
  visit("eval_tokens", setting.evaluation_tokens);
  visit("heldout_tokens", setting.heldout_tokens);
  visit("artifact_sha256", cell.artifact_sha256);
  visit("git_sha", setting.revision);
  visit("order", cell.order);
  visit("percdamp", setting.damping);
  visit("refinements", setting.refinements);
  visit("damp_max_used", cell.largest_damping);
  visit("n_over_d_min", cell.tokens_per_column);
  visit("reconstruction_mse", cell.heldout_loss);
  visit("reconstruction_mse_calib", cell.calibration_loss);
  visit("reconstruction_rel", cell.heldout_relative);
  visit("sumD_over_trH", cell.predicted_gain);
  visit("clip_rate", cell.clip_rate);
  visit("ppl_fp", cell.original_perplexity);
  visit("ppl_post_quant", cell.perplexity);
  visit("bpb_fp", cell.original_bits_per_byte);
  visit("bpb_post_quant", cell.bits_per_byte);
  visit("kld_mean", cell.divergence);
  visit("top1", cell.top1_agreement);
  visit("wallclock_ms", cell.milliseconds);
}

}  // namespace

OrderedJson Cell::to_json() const {
  OrderedJson json = {{"type", "cell"}, {"schema", kSchema}};
  visit_fields(*this, [&](const char* name, const auto& value) { json[name] = value; });
  if (!time.empty()) json["time"] = time;
  if (evaluated_with_seed) json["evaluated_with_seed"] = *evaluated_with_seed;
  json["calib_tokens"] = batches * setting.tokens_per_batch;
  json["guard"] = true;  // rows never lose more than plain rounding on the calibration text: always on
  return json;
}

Cell Cell::from_json(const Json& json, const std::string& origin) {
  if (const int schema = json_get<int>(json, "schema", origin); schema < kFirstSchema || schema > kSchema)
    fail("{}: a cell of schema {}, {} to {} expected", origin, schema, kFirstSchema, kSchema);
  Cell cell;
  visit_fields(cell, [&](const char* name, auto& value) {
    using Value = std::decay_t<decltype(value)>;
    value = json_get<Value>(json, name, origin);
    if constexpr (std::is_floating_point_v<Value>)
      if (!std::isfinite(value)) fail("{}: \"{}\" is {}, a number expected", origin, name, value);
  });
  if (json.contains("time")) cell.time = json_get<std::string>(json, "time", origin);
  if (json.contains("evaluated_with_seed"))
    cell.evaluated_with_seed = json_get<std::uint64_t>(json, "evaluated_with_seed", origin);
  return cell;
}

std::vector<Cell> read_cells(std::string_view lines, const std::string& origin) {
  std::vector<Cell> cells;
  for (std::size_t number = 1; !lines.empty(); ++number) {
    const std::size_t end = lines.find('\n');
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
    if (line.empty()) continue;
    const std::string place = fmt::format("{}: line {}", origin, number);
    const Json json = parse_json(line, place);
    const std::string type = json_get<std::string>(json, "type", place);
    if (type == "cell")
      cells.push_back(Cell::from_json(json, place));
    else if (type != "verdict")
      fail("{}: a row of type \"{}\", \"cell\" or \"verdict\" expected", place, type);
  }
  return cells;
}

std::vector<CellGroup> group_by_checkpoint(const std::vector<Cell>& cells) {
  std::map<std::tuple<std::string, std::string, bool>, CellGroup> groups;
  for (const Cell& cell : cells) {
    const CellSetting& setting = cell.setting;
    groups[{setting.model, setting.checkpoint_sha256, setting.rotated}].formats[cell.format].push_back(&cell);
  }
  std::vector<CellGroup> listed;
  for (auto& [key, group] : groups) listed.push_back(std::move(group));
  return listed;
}

}  // namespace assay
