#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "assay/audit/audit.h"
#include "assay/base/printable.h"
#include "assay/report/report_style.h"
#include "assay/report/svg.h"

namespace assay {
namespace {

OrderedJson suspicions_json(const std::vector<Suspicion>& suspicions) {
  OrderedJson list = OrderedJson::array();
  for (const Suspicion& suspicion : suspicions)
    list.push_back({{"kind", suspicion.kind}, {"rank", suspicion.rank}, {"why", suspicion.why}});
  return list;
}

OrderedJson facts_json(const TensorFacts& facts) {
  OrderedJson json = {{"rms", facts.rms},
                      {"largest", facts.largest},
                      {"not_finite", facts.not_finite},
                      {"zero_rows", facts.zero_rows.size()},
                      {"repeated_rows", facts.repeated_rows}};
  if (facts.units == 0) return json;
  json.update({{"groups", facts.units},
               {"off_centre", facts.off_centre},
               {"wild_scales", facts.wild_scales},
               {"constant_groups", facts.constant_units},
               {"zero_scales", facts.zero_scales},
               {"extreme_codes", facts.extreme_codes},
               {"parity", facts.parity}});
  return json;
}

OrderedJson compared_json(const ComparedFacts& facts) {
  OrderedJson json = {{"relative_rms", facts.relative_rms},
                      {"cosine", facts.cosine},
                      {"gain", facts.gain},
                      {"worst_row", facts.worst_row},
                      {"worst_row_relative_rms", std::isfinite(facts.worst_row_relative_rms)
                                                     ? OrderedJson(facts.worst_row_relative_rms)
                                                     : OrderedJson(nullptr)},
                      {"median_row_relative_rms", facts.median_row_relative_rms},
                      {"changed", facts.changed},
                      {"flushed", facts.flushed}};
  json["plain_relative_rms"] =
      std::isnan(facts.plain_relative_rms) ? OrderedJson(nullptr) : OrderedJson(facts.plain_relative_rms);
  return json;
}

std::string routing_line(const RouterAgreement& routing) {
  const auto worst =
      std::ranges::min_element(routing.layers, {}, [](const auto& layer) { return layer.second; });
  return fmt::format(
      "routers: {:.1f} % of the experts that a token visits are the original's, {:.1f} % in layer {}, "
      "the worst (chance {:.1f} %)",
      100 * routing.mean(), 100 * worst->second, worst->first, 100 * routing.chance);
}

/// Suspicious tensors, the worst first.
std::vector<const TensorAudit*> suspects(const AuditReport& report) {
  std::vector<const TensorAudit*> found;
  for (const TensorAudit& tensor : report.tensors)
    if (!tensor.suspicions.empty()) found.push_back(&tensor);
  std::ranges::stable_sort(found, std::greater(), [](const TensorAudit* t) { return t->suspicions[0].rank; });
  return found;
}

std::string verdict(const AuditReport& report) {
  if (report.sound())
    return fmt::format("sound: {} tensors{}", report.tensors.size(),
                       report.original.empty() ? ", looked at without an original" : "");
  const std::size_t tensors = suspects(report).size();
  return fmt::format(
      "WRONG: {} of {} tensors are suspicious{}", tensors, report.tensors.size(),
      report.of_checkpoint.empty()
          ? ""
          : fmt::format(", {} finding{} of the whole (first: {}: {})", report.of_checkpoint.size(),
                        report.of_checkpoint.size() == 1 ? "" : "s", report.of_checkpoint[0].kind,
                        report.of_checkpoint[0].why));
}

/// What a cell of the map is coloured by: the error against the original where there is one.
double heat_of(const TensorAudit& tensor) {
  if (tensor.compared) return std::min(1.0, tensor.compared->relative_rms);
  return tensor.facts ? std::min(1.0, tensor.facts->off_centre) : 1;
}

std::string cell_html(const TensorAudit& tensor) {
  std::string title = fmt::format("{} {} {}", tensor.name, tensor.format, shape_text(tensor.shape));
  if (tensor.compared)
    title += fmt::format("; relative RMS {:.4f}, cosine {:.4f}, worst row {} {:.3f}",
                         tensor.compared->relative_rms, tensor.compared->cosine, tensor.compared->worst_row,
                         tensor.compared->worst_row_relative_rms);
  for (const Suspicion& suspicion : tensor.suspicions) title += "; " + suspicion.kind + ": " + suspicion.why;
  const bool wrong = !tensor.suspicions.empty();
  return fmt::format(
      "<span title=\"{}\" style=\"display:inline-block;width:1.1em;height:1.1em;margin:1px;"
      "background:rgba(0,98,168,{:.2f});outline:{}\">{}</span>",
      escape_html(title), 0.08 + 0.92 * heat_of(tensor),
      wrong ? "3px solid #c22f2f" : "1px solid var(--rule)", wrong ? "!" : "");
}

/// A row a layer, a column a role; experts of one role share a cell's place.
std::string heat_map(const AuditReport& report) {
  std::vector<Role> roles;
  std::map<int, std::map<Role, std::vector<const TensorAudit*>>> layers;
  for (const TensorAudit& tensor : report.tensors) {
    layers[layer_of(tensor.name)][tensor.role].push_back(&tensor);
    if (std::ranges::find(roles, tensor.role) == roles.end()) roles.push_back(tensor.role);
  }
  std::ranges::sort(roles);
  std::string html = "<div class=\"scroll\"><table><thead><tr><th>layer</th>";
  for (const Role role : roles) html += fmt::format("<th>{}</th>", escape_html(role_name(role)));
  html += "</tr></thead><tbody>";
  for (const auto& [layer, by_role] : layers) {
    html += fmt::format("<tr><th>{}</th>", layer < 0 ? std::string("outside") : std::to_string(layer));
    for (const Role role : roles) {
      html += "<td>";
      if (const auto found = by_role.find(role); found != by_role.end())
        for (const TensorAudit* tensor : found->second) html += cell_html(*tensor);
      html += "</td>";
    }
    html += "</tr>";
  }
  return html + "</tbody></table></div>\n";
}

}  // namespace

OrderedJson AuditReport::to_json() const {
  OrderedJson list = OrderedJson::array();
  for (const TensorAudit& tensor : tensors) {
    OrderedJson json = {{"name", tensor.name},
                        {"role", std::string(role_name(tensor.role))},
                        {"format", tensor.format},
                        {"shape", tensor.shape},
                        {"bits_per_weight", tensor.bits_per_weight}};
    if (tensor.facts) json["facts"] = facts_json(*tensor.facts);
    if (tensor.compared) json["against_original"] = compared_json(*tensor.compared);
    json["suspicions"] = suspicions_json(tensor.suspicions);
    list.push_back(std::move(json));
  }
  return {{"schema", 1},
          {"model", model},
          {"original", original.empty() ? OrderedJson(nullptr) : OrderedJson(original)},
          {"sound", sound()},
          {"findings", suspicions_json(of_checkpoint)},
          {"notes", notes},
          {"routing", routing ? routing->to_json() : OrderedJson(nullptr)},
          {"tensors", std::move(list)}};
}

std::string audit_text(const AuditReport& report) {
  std::string text;
  for (const Suspicion& finding : report.of_checkpoint)
    text += fmt::format("{}: {}\n", finding.kind, printable(finding.why));
  for (const TensorAudit* tensor : suspects(report)) {
    text += fmt::format("{} ({})\n", printable(tensor->name), tensor->format);
    for (const Suspicion& suspicion : tensor->suspicions)
      text += fmt::format("  {}: {}\n", suspicion.kind, printable(suspicion.why));
  }
  struct Row {
    std::size_t tensors = 0;
    double largest = 0, smallest_cosine = 1;
  };
  std::map<std::string, Row> formats;
  for (const TensorAudit& tensor : report.tensors) {
    Row& row = formats[tensor.format];
    ++row.tensors;
    if (!tensor.compared) continue;
    row.largest = std::max(row.largest, tensor.compared->relative_rms);
    row.smallest_cosine = std::min(row.smallest_cosine, tensor.compared->cosine);
  }
  for (const auto& [format, row] : formats) {
    text += fmt::format("{:<16} {:>5} tensors", format, row.tensors);
    if (!report.original.empty())
      text +=
          fmt::format(", relative RMS up to {:.4f}, cosine down to {:.4f}", row.largest, row.smallest_cosine);
    text += "\n";
  }
  if (report.routing) text += routing_line(*report.routing) + "\n";
  for (const std::string& note : report.notes) text += "note: " + printable(note) + "\n";
  return text + verdict(report) + "\n";
}

std::string audit_html(const AuditReport& report) {
  std::string html = fmt::format(
      "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\"><title>Audit of {}</title><style>{}</style></head><body><main>\n",
      escape_html(report.model), kReportStyle);
  html += fmt::format("<h1>Audit of {}</h1><p class=\"lead\">{}{}</p>\n", escape_html(report.model),
                      escape_html(verdict(report)),
                      report.original.empty() ? "" : escape_html(", against " + report.original));
  if (report.routing) html += fmt::format("<p>{}</p>\n", escape_html(routing_line(*report.routing)));
  for (const std::string& note : report.notes) html += fmt::format("<p>{}</p>\n", escape_html(note));
  if (!report.sound()) {
    html +=
        "<h2>Findings</h2><div class=\"scroll\"><table><thead><tr><th>tensor</th><th>kind</th><th>what"
        "</th></tr></thead><tbody>";
    const auto add = [&](const std::string& where, const Suspicion& suspicion) {
      html += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>", escape_html(where),
                          escape_html(suspicion.kind), escape_html(suspicion.why));
    };
    for (const Suspicion& finding : report.of_checkpoint) add("", finding);
    for (const TensorAudit* tensor : suspects(report))
      for (const Suspicion& suspicion : tensor->suspicions) add(tensor->name, suspicion);
    html += "</tbody></table></div>\n";
  }
  html += fmt::format("<h2>Every tensor</h2><p>Darker: {}. Red: suspicious.</p>\n{}",
                      report.original.empty() ? "group means further from zero" : "further from the original",
                      heat_map(report));
  return html + "</main></body></html>\n";
}

}  // namespace assay
