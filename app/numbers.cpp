#include "app/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "assay/base/checked.h"
#include "assay/base/printable.h"

namespace assay::app {
namespace {

[[noreturn]] void refuse(const std::string& option, const std::string& text, const std::string& expected) {
  constexpr std::size_t kLongest = 60;
  const std::string shown = text.size() > kLongest ? text.substr(0, kLongest) + "..." : text;
  throw CLI::ValidationError(option, fmt::format("\"{}\" where {} is expected", printable(shown), expected));
}

/// The whole text as a number, or nothing. std::from_chars: no blanks, no plus, no hexadecimal digits.
template <class T>
std::optional<T> whole(std::string_view text) {
  T value{};
  const char* const end = text.data() + text.size();
  const auto [at, problem] = std::from_chars(text.data(), end, value);
  if (problem != std::errc() || at != end) return std::nullopt;
  return value;
}

template <class T>
std::string range_text(T least, T most) {
  const char* kind = std::is_floating_point_v<T> ? "a number" : "a whole number";
  if (most == std::numeric_limits<T>::max())
    return least == std::numeric_limits<T>::lowest() ? kind : fmt::format("{} from {}", kind, least);
  return fmt::format("{} from {} to {}", kind, least, most);
}

}  // namespace

template <class T>
T parse_number(const std::string& option, const std::string& text, T least, T most) {
  const std::optional<T> value = whole<T>(text);
  // NaN lies within no bounds; infinity is no number that an option means.
  const bool finite = value && std::isfinite(static_cast<double>(*value));
  if (!finite || !(*value >= least) || !(*value <= most)) refuse(option, text, range_text(least, most));
  return *value;
}

template int parse_number<int>(const std::string&, const std::string&, int, int);
template std::uint64_t parse_number<std::uint64_t>(const std::string&, const std::string&, std::uint64_t,
                                                   std::uint64_t);
template double parse_number<double>(const std::string&, const std::string&, double, double);

std::uint64_t parse_size(const std::string& option, const std::string& text) {
  constexpr const char* kExpected = "a size of at least one byte (1500000, 500MB, 2GiB)";
  constexpr std::string_view kUnits = "kmgtp";
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  std::string unit = text.substr(digits);
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return std::tolower(c); });
  if (unit.starts_with(' ')) unit.erase(0, 1);
  const std::size_t power = unit.empty() ? std::string_view::npos : kUnits.find(unit.front());
  if (power != std::string_view::npos) unit.erase(0, unit.compare(1, 2, "ib") == 0 ? 2 : 1);
  std::optional<std::uint64_t> bytes = whole<std::uint64_t>(std::string_view(text).substr(0, digits));
  if (bytes && power != std::string_view::npos)
    bytes = checked_multiply(*bytes, std::uint64_t{1} << (10 * (power + 1)));
  if (!bytes || *bytes == 0 || (!unit.empty() && unit != "b")) refuse(option, text, kExpected);
  return *bytes;
}

double parse_percentage(const std::string& option, const std::string& text) {
  const std::optional<double> value =
      whole<double>(std::string_view(text).substr(0, text.size() - (text.ends_with('%') ? 1 : 0)));
  constexpr double kMost = 1e6;
  if (!value || !(*value >= 0) || !(*value <= kMost)) refuse(option, text, "a percentage like 2%");
  return *value;
}

namespace detail {

CLI::Option* add(CLI::App* command, const std::string& name, const std::string& help, const char* type,
                 CLI::callback_t store, std::function<std::string()> shown) {
  return command->add_option(name, std::move(store), help, false, std::move(shown))->type_name(type);
}

std::vector<std::string> split_list(const std::string& option, const CLI::results_t& texts) {
  std::vector<std::string> items;
  for (const std::string& text : texts)
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      items.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  if (items.empty()) refuse(option, "", "a list of numbers");
  return items;
}

std::string shown_number(double value) {
  return fmt::format("{}", value);
}

std::string shown_number(std::uint64_t value) {
  return fmt::format("{}", value);
}

std::string shown_number(int value) {
  return fmt::format("{}", value);
}

}  // namespace detail

CLI::Option* add_size(CLI::App* command, const std::string& name, std::uint64_t* bytes,
                      const std::string& help) {
  return detail::add(command, name, help, "SIZE",
                     [=](const CLI::results_t& texts) {
                       *bytes = parse_size(name, texts.back());
                       return true;
                     },
                     {});
}

CLI::Option* add_percentage(CLI::App* command, const std::string& name, std::optional<double>* percent,
                            const std::string& help) {
  return detail::add(command, name, help, "P%",
                     [=](const CLI::results_t& texts) {
                       *percent = parse_percentage(name, texts.back());
                       return true;
                     },
                     {});
}

}  // namespace assay::app
