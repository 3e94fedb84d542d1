#pragma once
// A small plotter: one figure as inline SVG, readable in light and dark, without scripts. Colours come from
// the page's style sheet (classes "series-0".."series-7"); every mark carries its exact value as a <title>.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/measure/statistics.h"

namespace assay {

enum class AxisScale { linear, logarithmic };

struct Axis {
  std::string label;  // with the unit
  AxisScale scale = AxisScale::linear;
  std::vector<std::string> categories;  // names at x = 0, 1, 2, ...: replace the numeric ticks
};

struct PlotPoint {
  double x = 0, y = 0;
  std::optional<Interval> interval;  // of y, drawn as a whisker
  std::string label;                 // "" = none; drawn beside the point when the plot says so
};

struct PlotSeries {
  std::string name;
  std::vector<PlotPoint> points;
};

struct Plot {
  std::string id;                  // unique in the page
  std::string title, description;  // for those who cannot see it
  Axis x, y;
  std::vector<PlotSeries> series;
  bool lines = true, markers = true, point_labels = false, zero_line = false;
};

/// The <svg> element; what is not finite is left out of it. On a logarithmic axis values that are not
/// positive sit on the lower edge, and say so in their title.
std::string draw_plot(const Plot& plot);
/// A legend of the series as HTML, with each series' mark.
std::string draw_legend(const Plot& plot);

/// Text made safe for HTML and SVG, attributes included.
std::string escape_html(std::string_view text);

inline constexpr std::size_t kSeriesColours = 8;

/// Positions of about five round ticks inside [low, high]; powers of ten (and 2, 5 when they are few) on a
/// logarithmic axis.
std::vector<double> choose_ticks(double low, double high, AxisScale scale);

}  // namespace assay
