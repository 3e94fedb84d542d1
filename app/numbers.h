#pragma once
// Options that hold numbers, for all commands: the whole text is one finite number within its bounds, or the
// command ends with one line and exit code 2. CLI11's own conversions are not used: to them "" is 0 and -1 is
// 2^64 - 1.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace assay::app {

inline constexpr std::size_t kMostTokens = std::size_t{1} << 40;
inline constexpr std::uint64_t kMostSeeds = std::numeric_limits<std::uint64_t>::max();

/// Both bounds included. Throws CLI::ValidationError under the option's name. For int, std::uint64_t and
/// double.
template <class T>
T parse_number(const std::string& option, const std::string& text, T least, T most);

/// Bytes, with a unit or without: 500MB, 2GiB; K, M, G, T and P are powers of 1024.
std::uint64_t parse_size(const std::string& option, const std::string& text);

/// "2%" or "2".
double parse_percentage(const std::string& option, const std::string& text);

namespace detail {

CLI::Option* add(CLI::App* command, const std::string& name, const std::string& help, const char* type,
                 CLI::callback_t store, std::function<std::string()> shown);
std::vector<std::string> split_list(const std::string& option, const CLI::results_t& texts);
std::string shown_number(double value);
std::string shown_number(std::uint64_t value);
std::string shown_number(int value);

}  // namespace detail

/// `value` holds a T, or an optional of it.
template <class Value, class T>
CLI::Option* add_number(CLI::App* command, const std::string& name, Value* value, const std::string& help,
                        T least, T most) {
  constexpr bool kOptional = std::is_same_v<Value, std::optional<T>>;
  static_assert(kOptional || std::is_same_v<Value, T>, "bounds of the option's own type");
  std::function<std::string()> preset = [] { return std::string(); };
  if constexpr (!kOptional) preset = [value] { return detail::shown_number(*value); };
  return detail::add(
      command, name, help, std::is_floating_point_v<T> ? "X" : "N",
      [=](const CLI::results_t& texts) {
        *value = parse_number<T>(name, texts.back(), least, most);
        return true;
      },
      std::move(preset));
}

/// A list, separated by commas or blanks.
template <class T>
CLI::Option* add_numbers(CLI::App* command, const std::string& name, std::vector<T>* values,
                         const std::string& help, T least, T most) {
  auto* option = detail::add(
      command, name, help, "N,...",
      [=](const CLI::results_t& texts) {
        values->clear();
        for (const std::string& text : detail::split_list(name, texts))
          values->push_back(parse_number<T>(name, text, least, most));
        return true;
      },
      [values] {
        std::string list;
        for (const T value : *values) list += (list.empty() ? "" : ",") + detail::shown_number(value);
        return list;
      });
  return option->expected(1, CLI::detail::expected_max_vector_size);
}

/// At least one byte.
CLI::Option* add_size(CLI::App* command, const std::string& name, std::uint64_t* bytes,
                      const std::string& help);

CLI::Option* add_percentage(CLI::App* command, const std::string& name, std::optional<double>* percent,
                            const std::string& help);

}  // namespace assay::app
