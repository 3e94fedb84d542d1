#include "assay/report/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <regex>

#include "assay/base/error.h"
#include "assay/report/svg.h"
#include "tests/measure/fakes.h"
#include "tests/support.h"

namespace assay {
namespace {

ReportInput fake_report() {
  ReportInput input;
  input.title = "What quantisation cost: <tiny>";
  input.text_label = "self-sampled text (16384 tokens, seed 1)";
  input.facts = {"protocol: sliding", "sha256 & more"};
  input.original.name = "tiny";
  input.original.recipe = "original";
  input.original.linear_bits_per_weight = input.original.file_bits_per_weight = 16;
  input.original.bytes = 10400000;
  input.original.perplexity = 37.26;
  test::Noise noise(1);
  const struct {
    const char* name;
    double bits, kld;
  } rows[] = {{"q8", 8.5, 0.0004}, {"q4", 5, 0.031},    {"mlx4", 4.5, 0.034}, {"w3-mlp", 4.3, 0.09},
              {"w3", 3.75, 0.15},  {"mlx3", 3.5, 0.21}, {"mlx2", 2.5, 2.4},   {"int6-row", 6.06, 0.006}};
  for (const auto& row : rows) {
    ReportModel model;
    model.name = std::string("tiny-") + row.name;
    model.recipe = row.name;
    model.linear_bits_per_weight = row.bits;
    model.file_bits_per_weight = row.bits + 0.3;
    model.bytes = static_cast<std::uint64_t>(row.bits * 650000);
    model.perplexity = 37.26 * std::exp(row.kld);
    model.perplexity_interval = Interval{model.perplexity * 0.97, model.perplexity * 1.03};
    DivergenceSummary kld;
    kld.mean = row.kld;
    kld.mean_interval = {row.kld * 0.95, row.kld * 1.06};
    kld.median = row.kld * 0.4;
    kld.p90 = row.kld * 2.2;
    kld.p95 = row.kld * 3.5;
    kld.p99 = row.kld * 8;
    kld.p999 = row.kld * 20;
    kld.max = row.kld * 60;
    kld.top1_agreement = std::exp(-row.kld);
    model.divergence = kld;
    model.verdict = "the original is better than " + model.name + " by 1.2 % ppl [0.8, 1.6]";
    for (int i = 0; i < 5000; ++i) model.nll_difference.push_back(row.kld * (1 + 0.6 * noise.normal()));
    for (int i = 0; i < 29; ++i)
      model.tensor_errors.push_back({"model.layers." + std::to_string(i / 7) + ".x.weight",
                                     std::pow(2, -row.bits) * (1 + 0.3 * noise.uniform())});
    input.models.push_back(model);
  }
  return input;
}

TEST(Svg, EscapesEverythingThatCouldBreakOut) {
  EXPECT_EQ(escape_html("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
}

TEST(Svg, TicksAreRoundAndInside) {
  EXPECT_EQ(choose_ticks(0, 10, AxisScale::linear), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  const auto linear = choose_ticks(-0.013, 0.027, AxisScale::linear);
  ASSERT_EQ(linear.size(), 4u);
  EXPECT_NEAR(linear[0], -0.01, 1e-12);
  EXPECT_NEAR(linear[3], 0.02, 1e-12);
  const auto wide = choose_ticks(1e-4, 10, AxisScale::logarithmic);
  ASSERT_EQ(wide.size(), 6u);
  EXPECT_NEAR(wide[0], 1e-4, 1e-12);
  const auto narrow = choose_ticks(0.9, 11, AxisScale::logarithmic);
  ASSERT_EQ(narrow.size(), 4u);  // 1 2 5 10
  EXPECT_NEAR(narrow[1], 2, 1e-12);
}

Plot line_plot(AxisScale scale) {
  Plot plot;
  plot.id = "p";
  plot.title = "t";
  plot.x.label = "x";
  plot.y = {"y", scale, {}};
  return plot;
}

/// Vertical positions of all circles.
std::vector<double> circle_heights(const std::string& svg) {
  std::vector<double> heights;
  const std::regex pattern("cy=\"([-0-9.]+)\"");
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), pattern); it != std::sregex_iterator(); ++it)
    heights.push_back(std::stod((*it)[1]));
  return heights;
}

TEST(Svg, LogarithmicAxisSpacesDecadesEvenly) {
  Plot plot = line_plot(AxisScale::logarithmic);
  plot.series = {{"s", {{0, 0.01, {}, ""}, {1, 0.1, {}, ""}, {2, 1, {}, ""}}}};
  const auto heights = circle_heights(draw_plot(plot));
  ASSERT_EQ(heights.size(), 3u);
  EXPECT_NEAR(heights[0] - heights[1], heights[1] - heights[2], 0.21);
  EXPECT_GT(heights[0], heights[2]) << "up is more";
}

TEST(Svg, DegenerateDataStillDrawsFiniteCoordinates) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const auto scale : {AxisScale::linear, AxisScale::logarithmic}) {
    Plot plot = line_plot(scale);
    for (const auto& points :
         std::vector<std::vector<PlotPoint>>{{},
                                             {{0, 0, {}, ""}},
                                             {{1, 5, {}, ""}},
                                             {{1, 5, {}, ""}, {1, 5, {}, ""}},
                                             {{0, 0, {}, ""}, {1, 3, Interval{0, 4}, ""}},
                                             {{0, 1, {}, ""}, {1, 1 + 1e-16, {}, ""}, {1, 1 - 2e-16, {}, ""}},
                                             {{0, 1e6, {}, ""}, {1, 1e6 + 2e-10, {}, ""}},
                                             {{0, 5e-324, {}, ""}, {1, 1, {}, ""}},
                                             {{0, 1e-290, {}, ""}, {1, 1e290, {}, ""}},
                                             {{0, kInfinity, {}, ""}, {1, 1, Interval{0, kInfinity}, ""}},
                                             {{0, std::nan(""), {}, ""}, {kInfinity, 1, {}, ""}}}) {
      plot.series = {{"s", points}};
      const std::string svg = draw_plot(plot);
      EXPECT_EQ(svg.find("nan"), std::string::npos) << svg;
      EXPECT_EQ(svg.find("inf"), std::string::npos) << svg;
      EXPECT_LT(svg.size(), 20000u) << "a bounded number of ticks";
    }
  }
}

TEST(Report, IsSelfContainedAndWellFormed) {
  const std::string html = render_report(fake_report());
  for (const char* forbidden : {"<script", "http://", "https://", "url(", "@import", "<img", "<link"})
    EXPECT_EQ(html.find(forbidden), std::string::npos) << forbidden;
  EXPECT_EQ(html.find("<tiny>"), std::string::npos) << "titles are escaped";
  // Tags balance.
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z0-9]+)([^>]*?)(/?)>");
  for (auto it = std::sregex_iterator(html.begin(), html.end(), tag); it != std::sregex_iterator(); ++it) {
    const std::string name = (*it)[2];
    if (name == "meta" || (*it)[4] == "/") continue;
    if ((*it)[1] == "/") {
      ASSERT_FALSE(open.empty());
      ASSERT_EQ(open.back(), name);
      open.pop_back();
    } else {
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty());
}

TEST(Report, ShowsEveryModelAndItsValues) {
  const ReportInput input = fake_report();
  const std::string html = render_report(input);
  for (const ReportModel& model : input.models) {
    EXPECT_NE(html.find(model.name), std::string::npos);
    EXPECT_NE(html.find(escape_html(model.verdict)), std::string::npos);
  }
  for (const char* part : {"id=\"damage-title\"", "id=\"percentiles-title\"", "id=\"along-text-title\"",
                           "id=\"tensors-title\"", "bits per weight (linear)", "mean KLD (nats a token)",
                           "self-sampled text (16384 tokens, seed 1)", "sha256 &amp; more",
                           "prefers-color-scheme: dark", "width=device-width", "= 0.031 [0.02945, 0.03286]"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
}

TEST(Report, LeavesOutPlotsWithoutData) {
  ReportInput input = fake_report();
  for (ReportModel& model : input.models) {
    model.divergence.reset();
    model.nll_difference.clear();
    model.tensor_errors.clear();
  }
  const std::string html = render_report(input);
  EXPECT_EQ(html.find("<figure"), std::string::npos);
  EXPECT_NE(html.find("tiny-q4"), std::string::npos);
}

TEST(Report, IsWrittenWhole) {
  const test::TemporaryFolder folder;
  write_report(folder.file("report.html"), fake_report());
  EXPECT_EQ(test::read_bytes(folder.file("report.html")), render_report(fake_report()));
  EXPECT_ERROR(write_report(folder.file("absent/report.html"), fake_report()), "absent");
}

}  // namespace
}  // namespace assay
