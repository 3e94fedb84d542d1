#include "assay/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "assay/base/printable.h"

namespace assay {
namespace {

constexpr double kWidth = 640, kHeight = 400;
constexpr double kLeft = 76, kRight = 20, kTop = 16, kBottom = 58;
constexpr double kLetter = 7.2, kLine = 16;  // about the size of a letter of the 13-pixel labels

using Buffer = std::back_insert_iterator<std::string>;

/// Maps data to pixels along one axis.
class Mapping {
 public:
  Mapping(double low, double high, AxisScale scale, double from, double to)
      : scale_(scale), low_(transform(low)), high_(transform(high)), from_(from), to_(to) {}
  double operator()(double value) const {
    return from_ + (transform(value) - low_) / (high_ - low_) * (to_ - from_);
  }

 private:
  double transform(double value) const { return scale_ == AxisScale::linear ? value : std::log10(value); }
  AxisScale scale_;
  double low_, high_, from_, to_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value, AxisScale scale) {
    constexpr double kSmallest = 1e-300, kLargest = 1e300;  // so that nothing leaves the range of doubles
    if (!(std::fabs(value) <= kLargest) || (scale == AxisScale::logarithmic && value < kSmallest)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

/// Widened so that no mark sits on the frame, and never empty. Values that differ by rounding alone are one.
Range pad(Range range, AxisScale scale) {
  constexpr double kRounding = 1e-9;
  if (range.low > range.high) return scale == AxisScale::linear ? Range{0, 1} : Range{0.1, 1};
  if (scale == AxisScale::logarithmic) return {range.low / 1.5, range.high * 1.5};
  const double span = range.high - range.low, reach = std::max(std::fabs(range.low), std::fabs(range.high));
  const double margin = span > kRounding * reach ? 0.06 * span : std::max(1e-6, 0.1 * reach);
  return {range.low - margin, range.high + margin};
}

std::string tick_text(double value, AxisScale scale) {
  if (value == 0 || scale == AxisScale::linear)
    return fmt::format("{:.6g}", std::fabs(value) < 1e-12 ? 0.0 : value);
  return value >= 0.001 && value < 10000 ? fmt::format("{:g}", value) : fmt::format("{:.0e}", value);
}

struct Frame {
  Range x_range, y_range;
  Mapping x, y;
};

Frame make_frame(const Plot& plot) {
  Range x, y;
  for (const PlotSeries& series : plot.series)
    for (const PlotPoint& point : series.points) {
      x.include(point.x, plot.x.scale);
      y.include(point.y, plot.y.scale);
      if (point.interval) {
        y.include(point.interval->low, plot.y.scale);
        y.include(point.interval->high, plot.y.scale);
      }
    }
  if (plot.zero_line) y.include(0, plot.y.scale);
  x = pad(x, plot.x.scale);
  y = pad(y, plot.y.scale);
  if (!plot.x.categories.empty()) x = {-0.3, static_cast<double>(plot.x.categories.size()) - 0.7};
  return {x, y, Mapping(x.low, x.high, plot.x.scale, kLeft, kWidth - kRight),
          Mapping(y.low, y.high, plot.y.scale, kHeight - kBottom, kTop)};
}

void draw_axes(const Plot& plot, const Frame& frame, Buffer out) {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  for (const double tick : choose_ticks(frame.y_range.low, frame.y_range.high, plot.y.scale)) {
    const double y = frame.y(tick);
    fmt::format_to(out, "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", kLeft,
                   right, y, y);
    fmt::format_to(out, "<text class=\"tick\" x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
                   kLeft - 8, y + 4.5, tick_text(tick, plot.y.scale));
  }
  const auto x_tick = [&](double at, const std::string& text) {
    fmt::format_to(out, "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>", at,
                   bottom, bottom + 5);
    fmt::format_to(out, "<text class=\"tick\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", at,
                   bottom + 20, escape_html(text));
  };
  if (plot.x.categories.empty())
    for (const double tick : choose_ticks(frame.x_range.low, frame.x_range.high, plot.x.scale))
      x_tick(frame.x(tick), tick_text(tick, plot.x.scale));
  else
    for (std::size_t i = 0; i < plot.x.categories.size(); ++i)
      x_tick(frame.x(static_cast<double>(i)), plot.x.categories[i]);
  fmt::format_to(out, "<path class=\"axis\" d=\"M{} {}V{}H{}\"/>\n", kLeft, kTop, bottom, right);
  if (plot.zero_line)
    fmt::format_to(out, "<line class=\"zero\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", kLeft,
                   right, frame.y(0), frame.y(0));
  fmt::format_to(out, "<text class=\"label\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                 (kLeft + right) / 2, kHeight - 12, escape_html(plot.x.label));
  fmt::format_to(out,
                 "<text class=\"label\" transform=\"translate(18 {:.1f}) rotate(-90)\" "
                 "text-anchor=\"middle\">{}</text>\n",
                 (kTop + bottom) / 2, escape_html(plot.y.label));
}

/// Eight marks that differ in shape as well as colour.
std::string mark_path(std::size_t index, double x, double y) {
  const auto path = [&](const char* shape) {
    return fmt::format("<path transform=\"translate({:.1f} {:.1f})\" d=\"{}\"/>", x, y, shape);
  };
  switch (index % 4) {
    case 0:
      return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"/>", x, y);
    case 1:
      return path("M-4.5 -4.5H4.5V4.5H-4.5Z");
    case 2:
      return path("M0 -6L6 4.5H-6Z");
    default:
      return path("M0 -6.5L6.5 0L0 6.5L-6.5 0Z");
  }
}

/// Labels already placed, so that the next one can step aside.
class LabelPlacer {
 public:
  /// Top-left corner beside (x, y): right of the mark, or left near the right edge, moved up or down until
  /// free.
  std::pair<double, double> place(double x, double y, std::size_t letters) {
    const double width = kLetter * static_cast<double>(letters);
    const double left = x + 10 + width > kWidth - kRight ? x - 10 - width : x + 10;
    for (int step = 0; step < 24; ++step) {
      const int half_lines = (step % 2 == 0 ? -1 : 1) * ((step + 1) / 2);
      const double shift = half_lines * kLine / 2;
      const double top = y + shift - kLine / 2;
      const bool inside = top >= kTop && top + kLine <= kHeight - kBottom;
      if (inside && is_free(left, top, width)) {
        boxes_.push_back({left, top, width});
        return {left, top};
      }
    }
    return {left, y - kLine / 2};
  }
  void block(double x, double y) { boxes_.push_back({x - 6, y - kLine / 2, 12}); }

 private:
  struct Box {
    double left, top, width;
  };
  bool is_free(double left, double top, double width) const {
    return std::none_of(boxes_.begin(), boxes_.end(), [&](const Box& box) {
      return left < box.left + box.width && box.left < left + width && top < box.top + kLine &&
             box.top < top + kLine;
    });
  }
  std::vector<Box> boxes_;
};

double clamp_to_axis(double value, const Axis& axis, const Range& range) {
  return axis.scale == AxisScale::logarithmic ? std::max(value, range.low) : value;
}

void draw_series(const Plot& plot, const Frame& frame, std::size_t index, Buffer out) {
  const PlotSeries& series = plot.series[index];
  const auto y_of = [&](double value) { return frame.y(clamp_to_axis(value, plot.y, frame.y_range)); };
  fmt::format_to(out, "<g class=\"series series-{}\">", index % kSeriesColours);
  if (plot.lines && series.points.size() > 1) {
    fmt::format_to(out, "<path class=\"line dash-{}\" d=\"", index / 4 % 2);
    for (std::size_t i = 0; i < series.points.size(); ++i)
      fmt::format_to(out, "{}{:.1f} {:.1f}", i == 0 ? 'M' : 'L', frame.x(series.points[i].x),
                     y_of(series.points[i].y));
    fmt::format_to(out, "\"><title>{}</title></path>\n", escape_html(series.name));
  }
  for (const PlotPoint& point : series.points) {
    const double x = frame.x(point.x);
    if (point.interval)
      fmt::format_to(out, "<path class=\"whisker\" d=\"M{0:.1f} {1:.1f}V{2:.1f}\"/>", x,
                     y_of(point.interval->low), y_of(point.interval->high));
    if (!plot.markers) continue;
    std::string title = fmt::format("{}: {} = {:.6g}, {} = {:.6g}", series.name, plot.x.label, point.x,
                                    plot.y.label, point.y);
    if (!plot.x.categories.empty())
      title = fmt::format("{}: {}: {:.6g}", series.name, plot.x.categories[static_cast<std::size_t>(point.x)],
                          point.y);
    if (point.interval) title += fmt::format(" [{:.6g}, {:.6g}]", point.interval->low, point.interval->high);
    if (!point.label.empty() && point.label != series.name) title = point.label + ", " + title;
    fmt::format_to(out, "<g class=\"mark\"><title>{}</title>{}</g>\n", escape_html(title),
                   mark_path(index, x, y_of(point.y)));
  }
  fmt::format_to(out, "</g>\n");
}

void draw_labels(const Plot& plot, const Frame& frame, Buffer out) {
  LabelPlacer placer;
  const auto y_of = [&](double value) { return frame.y(clamp_to_axis(value, plot.y, frame.y_range)); };
  for (const PlotSeries& series : plot.series)
    for (const PlotPoint& point : series.points) placer.block(frame.x(point.x), y_of(point.y));
  for (const PlotSeries& series : plot.series)
    for (const PlotPoint& point : series.points) {
      if (point.label.empty()) continue;
      const auto [left, top] = placer.place(frame.x(point.x), y_of(point.y), point.label.size());
      fmt::format_to(out, "<text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", left, top + 12,
                     escape_html(point.label));
    }
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string safe;
  for (const char c : printable_lines(text)) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::vector<double> choose_ticks(double low, double high, AxisScale scale) {
  std::vector<double> ticks;
  if (scale == AxisScale::linear) {
    const double rough = (high - low) / 5;
    const double decade = std::pow(10, std::floor(std::log10(rough)));
    const double lead = rough / decade;
    const double step = decade * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
    const double first = std::ceil(low / step), last = std::floor(high / step);
    for (double i = first; i <= last; i += 1) ticks.push_back(i * step);
    return ticks;
  }
  const double decades = std::log10(high) - std::log10(low);
  const bool few = decades < 2.5;
  const double stride = std::max(1.0, std::ceil(decades / 12));
  for (double exponent = std::floor(std::log10(low)); exponent <= std::ceil(std::log10(high));
       exponent += stride)
    for (const double lead : {1.0, 2.0, 5.0}) {
      const double tick = lead * std::pow(10, exponent);
      if ((lead == 1 || few) && tick >= low && tick <= high) ticks.push_back(tick);
    }
  return ticks;
}

std::string draw_plot(const Plot& given) {
  Plot plot = given;
  for (PlotSeries& series : plot.series) {
    std::erase_if(series.points,
                  [](const PlotPoint& p) { return !std::isfinite(p.x) || !std::isfinite(p.y); });
    for (PlotPoint& point : series.points)
      if (point.interval && !(std::isfinite(point.interval->low) && std::isfinite(point.interval->high)))
        point.interval.reset();
  }
  std::string text;
  const Buffer out(text);
  const Frame frame = make_frame(plot);
  fmt::format_to(out,
                 "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{}-title {}-description\">\n",
                 kWidth, kHeight, plot.id, plot.id);
  fmt::format_to(out, "<title id=\"{0}-title\">{1}</title><desc id=\"{0}-description\">{2}</desc>\n", plot.id,
                 escape_html(plot.title), escape_html(plot.description));
  draw_axes(plot, frame, out);
  for (std::size_t i = 0; i < plot.series.size(); ++i) draw_series(plot, frame, i, out);
  if (plot.point_labels) draw_labels(plot, frame, out);
  text += "</svg>\n";
  return text;
}

std::string draw_legend(const Plot& plot) {
  std::string text = "<ul class=\"legend\">\n";
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const std::string line =
        plot.lines ? fmt::format("<path class=\"line dash-{}\" d=\"M0 9H34\"/>", i / 4 % 2) : std::string();
    const std::string mark =
        plot.markers ? "<g class=\"mark\">" + mark_path(i, 17, 9) + "</g>" : std::string();
    text += fmt::format(
        "<li><svg class=\"swatch\" viewBox=\"0 0 34 18\" aria-hidden=\"true\"><g class=\"series "
        "series-{}\">{}{}</g></svg>{}</li>\n",
        i % kSeriesColours, line, mark, escape_html(plot.series[i].name));
  }
  return text + "</ul>\n";
}

}  // namespace assay
