#pragma once
// report.html: what quantisation cost, on one self-contained page: a table and plots, no scripts, no network.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/measure/measurement.h"

namespace assay {

struct ReportModel {
  std::string name, recipe;
  double linear_bits_per_weight = 0, file_bits_per_weight = 0;
  std::uint64_t bytes = 0;
  double perplexity = 0;
  std::optional<Interval> perplexity_interval;
  std::optional<DivergenceSummary> divergence;  // from the original; none for the original itself
  std::string verdict;                          // one sentence
  std::vector<double> nll_difference;           // model - original, one a scored token, nats; may be empty
  std::vector<TensorError> tensor_errors;       // may be empty
};

struct ReportInput {
  std::string title;               // "What quantisation cost: tiny"
  std::string text_label;          // the corpus, with "partial" or "self-sampled" where it is
  std::vector<std::string> facts;  // protocol, hashes, machine, version: one line each
  ReportModel original;
  std::vector<ReportModel> models;
};

/// A row of the report from a measurement.
ReportModel report_model(const Measurement& measurement, std::size_t index, std::string recipe,
                         std::string verdict);
/// The original's row, from the measurement's reference.
ReportModel report_original(const Measurement& measurement);
/// The lines that every number needs: corpus and hash, protocol, clusters, machine, version.
std::vector<std::string> report_facts(const Measurement& measurement, const Corpus& corpus);

std::string render_report(const ReportInput& input);
/// Writes render_report() atomically.
void write_report(const std::string& path, const ReportInput& input);

}  // namespace assay
