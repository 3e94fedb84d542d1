#include "assay/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "assay/base/file.h"
#include "assay/report/report_style.h"
#include "assay/report/svg.h"
#include "assay/version.h"

namespace assay {
namespace {

constexpr std::size_t kBins = 48;

std::string bytes_text(std::uint64_t bytes) {
  return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
}

std::string interval_text(const std::optional<Interval>& interval, int digits) {
  if (!interval) return "no interval";
  return fmt::format("[{:.{}g}, {:.{}g}]", interval->low, digits, interval->high, digits);
}

std::string table_row(const ReportModel& model) {
  const std::string perplexity =
      fmt::format("{:.5g}<small>{}</small>", model.perplexity, interval_text(model.perplexity_interval, 5));
  std::string divergence = "&ndash;", agreement = "&ndash;";
  if (model.divergence) {
    divergence = fmt::format("{:.4g}<small>{}</small>", model.divergence->mean,
                             interval_text(model.divergence->mean_interval, 4));
    agreement = fmt::format("{:.2f} %", 100 * model.divergence->top1_agreement);
  }
  return fmt::format(
      "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"n\">{:.3f}</td><td class=\"n\">{:.3f}</td><td "
      "class=\"n\">{}</td>"
      "<td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
      "class=\"verdict\">{}</td></tr>\n",
      escape_html(model.name), escape_html(model.recipe), model.linear_bits_per_weight,
      model.file_bits_per_weight, bytes_text(model.bytes), perplexity, divergence, agreement,
      escape_html(model.verdict));
}

std::string table(const ReportInput& input) {
  std::string html =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results of every "
      "model\"><table>\n<caption>Intervals are "
      "95 %. Bits per weight: linear = matrices inside the blocks, file = everything.</caption>\n"
      "<thead><tr><th scope=\"col\">model</th><th scope=\"col\">recipe</th><th scope=\"col\" "
      "class=\"n\">bits/weight "
      "linear</th><th scope=\"col\" class=\"n\">bits/weight file</th><th scope=\"col\" class=\"n\">size</th>"
      "<th scope=\"col\" class=\"n\">perplexity</th><th scope=\"col\" class=\"n\">mean KLD (nats)</th>"
      "<th scope=\"col\" class=\"n\">same top-1</th><th scope=\"col\">verdict</th></tr></thead>\n<tbody>\n";
  html += table_row(input.original);
  for (const ReportModel& model : input.models) html += table_row(model);
  return html + "</tbody></table></div>\n";
}

std::string figure(const Plot& plot, const std::string& caption, bool legend) {
  return fmt::format(
      "<section><h2>{}</h2>\n<figure><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"{}\">{}</div>{}<figcaption>{}</figcaption></figure></section>\n",
      escape_html(plot.title), escape_html(plot.title), draw_plot(plot),
      legend ? draw_legend(plot) : std::string(), escape_html(caption));
}

std::string damage_plot(const ReportInput& input) {
  Plot plot;
  plot.id = "damage";
  plot.title = "Damage against size";
  plot.description = "Mean KL divergence from the original against bits per weight, one point a model.";
  plot.x.label = "bits per weight (linear)";
  plot.y = {"mean KLD (nats a token)", AxisScale::logarithmic, {}};
  plot.lines = false;
  plot.point_labels = true;
  for (const ReportModel& model : input.models)
    if (model.divergence)
      plot.series.push_back({model.name,
                             {{model.linear_bits_per_weight, model.divergence->mean,
                               model.divergence->mean_interval, model.name}}});
  if (plot.series.empty()) return "";
  return figure(
      plot, "Lower and further left is better. Whiskers are 95 % intervals; often smaller than the marks.",
      false);
}

std::string percentile_plot(const ReportInput& input) {
  Plot plot;
  plot.id = "percentiles";
  plot.title = "Where the damage sits";
  plot.description = "Percentiles of the KL divergence over scored tokens, one line a model.";
  plot.x = {"percentile of scored tokens", AxisScale::linear, {"50", "90", "95", "99", "99.9", "max"}};
  plot.y = {"KLD (nats)", AxisScale::logarithmic, {}};
  for (const ReportModel& model : input.models) {
    if (!model.divergence) continue;
    const DivergenceSummary& kld = *model.divergence;
    PlotSeries series{model.name, {}};
    double x = 0;
    for (const double value : {kld.median, kld.p90, kld.p95, kld.p99, kld.p999, kld.max})
      series.points.push_back({x++, value, std::nullopt, ""});
    plot.series.push_back(std::move(series));
  }
  if (plot.series.empty()) return "";
  return figure(plot, "A steep line: most tokens are unharmed and a few are hit hard. Exploratory.", true);
}

/// Means of consecutive equal runs, placed at the middle of each.
std::vector<PlotPoint> bin(const std::vector<double>& values) {
  std::vector<PlotPoint> points;
  const std::size_t bins = std::min(kBins, values.size());
  for (std::size_t b = 0; b < bins; ++b) {
    const std::size_t begin = b * values.size() / bins, end = (b + 1) * values.size() / bins;
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) sum += values[i];
    points.push_back(
        {0.5 * static_cast<double>(begin + end), sum / static_cast<double>(end - begin), std::nullopt, ""});
  }
  return points;
}

std::string along_text_plot(const ReportInput& input) {
  Plot plot;
  plot.id = "along-text";
  plot.title = "Loss along the text";
  plot.description =
      "Difference of the loss from the original's, averaged over runs of the text, one line a model.";
  plot.x.label = "scored token";
  plot.y.label = "loss difference (nats a token)";
  plot.markers = false;
  plot.zero_line = true;
  for (const ReportModel& model : input.models)
    if (!model.nll_difference.empty()) plot.series.push_back({model.name, bin(model.nll_difference)});
  if (plot.series.empty()) return "";
  return figure(
      plot, "Above zero the model is worse than the original there. Means of equal runs of the text.", true);
}

std::string tensor_plot(const ReportInput& input) {
  Plot plot;
  plot.id = "tensors";
  plot.title = "Error per tensor";
  plot.description = "Relative RMS error of every quantised tensor, in file order, one series a model.";
  plot.x.label = "tensor, in file order";
  plot.y = {"relative RMS error", AxisScale::logarithmic, {}};
  plot.lines = false;
  for (const ReportModel& model : input.models) {
    PlotSeries series{model.name, {}};
    for (std::size_t i = 0; i < model.tensor_errors.size(); ++i)
      if (model.tensor_errors[i].relative_rms > 0)
        series.points.push_back({static_cast<double>(i), model.tensor_errors[i].relative_rms, std::nullopt,
                                 model.tensor_errors[i].tensor});
    if (!series.points.empty()) plot.series.push_back(std::move(series));
  }
  if (plot.series.empty()) return "";
  return figure(
      plot,
      "Root mean square of the weight change over that of the weights. Tensors kept exactly are left out.",
      true);
}

}  // namespace

ReportModel report_model(const Measurement& measurement, std::size_t index, std::string recipe,
                         std::string verdict) {
  const ModelMeasurement& model = measurement.models[index];
  ReportModel row;
  row.name = model.facts.name;
  row.recipe = std::move(recipe);
  row.linear_bits_per_weight = model.facts.linear_bits_per_weight;
  row.file_bits_per_weight = model.facts.file_bits_per_weight;
  row.bytes = model.facts.bytes;
  row.perplexity = model.perplexity;
  row.perplexity_interval = model.perplexity_interval;
  row.divergence = model.divergence;
  row.verdict = std::move(verdict);
  row.tensor_errors = model.facts.tensor_errors;
  if (measurement.evaluation.reference) {
    const std::vector<double>& original = measurement.evaluation.reference->nll;
    const std::vector<double>& nll = measurement.evaluation.models[index].nll;
    for (std::size_t i = 0; i < nll.size(); ++i) row.nll_difference.push_back(nll[i] - original[i]);
  }
  return row;
}

ReportModel report_original(const Measurement& measurement) {
  const ModelMeasurement& model = *measurement.reference;
  ReportModel row;
  row.name = model.facts.name;
  row.recipe = "original";
  row.linear_bits_per_weight = model.facts.linear_bits_per_weight;
  row.file_bits_per_weight = model.facts.file_bits_per_weight;
  row.bytes = model.facts.bytes;
  row.perplexity = model.perplexity;
  row.perplexity_interval = model.perplexity_interval;
  return row;
}

std::vector<std::string> report_facts(const Measurement& measurement, const Corpus& corpus) {
  const WindowOptions& windows = measurement.options.windows;
  std::vector<std::string> facts;
  facts.push_back(fmt::format("text: {}{}, {} tokens scored, sha256 {}", corpus.label,
                              corpus.partial ? " (partial: cut by --max-tokens)" : "",
                              measurement.evaluation.targets.size(), corpus.text_sha256));
  for (const std::string& note : corpus.notes) facts.push_back("text: " + note);
  facts.push_back(
      fmt::format("protocol: {}, window {}{}, {}, BOS {}", protocol_name(windows.protocol), windows.window,
                  windows.protocol == Protocol::sliding ? fmt::format(", stride {}", windows.stride) : "",
                  mode_name(measurement.options.mode),
                  measurement.options.chunk_start ? "in place of the first token of each chunk"
                  : corpus.bos_added              ? "added"
                                                  : "not added"));
  facts.push_back(measurement.clusters.count() < 2
                      ? fmt::format("intervals: none, {} scored tokens are one cluster: use more text",
                                    measurement.clusters.tokens())
                      : fmt::format("intervals: {} clusters ({}), bootstrap seed {}",
                                    measurement.clusters.count(), measurement.clusters.kind, kBootstrapSeed));
  facts.push_back(fmt::format("machine: {} threads, sgemm {:.0f} GFLOP/s", measurement.threads,
                              measurement.sgemm_gflops));
  facts.push_back(fmt::format("assay {} ({})", ASSAY_VERSION, ASSAY_REVISION));
  return facts;
}

std::string render_report(const ReportInput& input) {
  std::string html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light "
      "dark\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n<p "
      "class=\"lead\">Measured on {2}.</p>\n",
      escape_html(input.title), kReportStyle, escape_html(input.text_label));
  html += table(input);
  html += damage_plot(input) + percentile_plot(input) + along_text_plot(input) + tensor_plot(input);
  html += "<section><h2>Facts</h2>\n<ul class=\"facts\">\n";
  for (const std::string& fact : input.facts) html += fmt::format("<li>{}</li>\n", escape_html(fact));
  return html + "</ul></section>\n</main>\n</body>\n</html>\n";
}

void write_report(const std::string& path, const ReportInput& input) {
  write_file_atomically(path, render_report(input));
}

}  // namespace assay
