#include "assay/formats/stored_scheme.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/text_search.h"
#include "assay/formats/table.h"

namespace assay {
namespace {

constexpr std::string_view kExpression = "re:";

/// Pieces between stars, each of which matches itself and a "." any character; the first at the start.
std::optional<std::vector<std::string>> pieces_of(std::string_view expression) {
  std::vector<std::string> pieces(1);
  for (std::size_t i = 0; i < expression.size(); ++i) {
    const char c = expression[i];
    if (c == '\\' && i + 1 < expression.size() && expression[i + 1] == '.') {
      pieces.back() += '.';
      ++i;
    } else if (c == '.' && i + 1 < expression.size() && expression[i + 1] == '*') {
      pieces.emplace_back();
      ++i;
    } else if (std::string_view("\\^$*+?()[]{}|").find(c) != std::string_view::npos) {
      return std::nullopt;
    } else {
      pieces.back() += c;  // names have dots where expressions forget to escape them
    }
  }
  return pieces;
}

}  // namespace

std::vector<const StoredScheme*> all_schemes() {
  std::vector<const StoredScheme*> schemes;
  for (const FormatPtr& format : all_formats())
    if (format->scheme() != nullptr &&
        std::find(schemes.begin(), schemes.end(), format->scheme()) == schemes.end())
      schemes.push_back(format->scheme());
  return schemes;
}

bool is_projection(std::string_view module) {
  return module.find("layers.") != std::string_view::npos && module.ends_with("_proj") &&
         module.find("visual") == std::string_view::npos && module.find("vision") == std::string_view::npos;
}

bool names_module(std::string_view entry, std::string_view module) {
  if (entry.empty()) return false;
  const std::string framed = fmt::format(".{}.", module), wanted = fmt::format(".{}.", entry);
  return framed.find(wanted) != std::string::npos;
}

std::optional<bool> expression_matches(std::string_view expression, std::string_view module) {
  if (expression.starts_with('^')) expression.remove_prefix(1);
  const bool to_the_end = expression.ends_with('$') && !expression.ends_with("\\$");
  if (to_the_end) expression.remove_suffix(1);
  const auto pieces = pieces_of(expression);
  if (!pieces) return std::nullopt;
  if (!module.starts_with(pieces->front())) return false;
  std::string_view rest = module.substr(pieces->front().size());
  if (pieces->size() == 1) return !to_the_end || rest.empty();
  for (std::size_t i = 1; i + 1 < pieces->size(); ++i) {
    const std::size_t at = find_linearly(rest, (*pieces)[i]);
    if (at == std::string_view::npos) return false;
    rest.remove_prefix(at + (*pieces)[i].size());
  }
  return to_the_end ? rest.ends_with(pieces->back())
                    : find_linearly(rest, pieces->back()) != std::string_view::npos;
}

std::optional<bool> list_names_module(const Json& config, const char* key, std::string_view module) {
  const auto list = config.find(key);
  if (list == config.end() || list->is_null()) return false;
  if (!list->is_array()) fail("\"{}\" is {}, a list of modules expected", key, list->type_name());
  bool understood = true;
  for (const Json& entry : *list) {
    if (!entry.is_string()) fail("\"{}\" holds {}, names of modules expected", key, entry.type_name());
    const auto& text = entry.get_ref<const std::string&>();
    if (!text.starts_with(kExpression)) {
      if (names_module(text, module)) return true;
      continue;
    }
    const auto matches = expression_matches(std::string_view(text).substr(kExpression.size()), module);
    if (matches.value_or(false)) return true;
    understood &= matches.has_value();
  }
  return understood ? std::optional(false) : std::nullopt;
}

const SchemeArray& demand_matrix(const SchemeArrays& arrays, std::string_view suffix,
                                 std::span<const DType> dtypes) {
  const auto found = arrays.find(suffix);
  if (found == arrays.end()) fail("there is no .{}", suffix);
  const SchemeArray& array = found->second;
  if (std::find(dtypes.begin(), dtypes.end(), array.dtype) == dtypes.end()) {
    std::vector<std::string_view> names;
    for (const DType dtype : dtypes) names.push_back(dtype_name(dtype));
    fail(".{} is stored as {}; {} expected", suffix, dtype_name(array.dtype), fmt::join(names, " or "));
  }
  if (array.shape.size() != 2 || array.shape[0] == 0 || array.shape[1] == 0)
    fail(".{} is [{}]; a matrix expected", suffix, fmt::join(array.shape, ", "));
  return array;
}

void demand_shape(const SchemeArray& array, std::string_view suffix, std::uint64_t rows,
                  std::uint64_t columns) {
  if (array.shape != std::vector{rows, columns})
    fail(".{} is [{}]; [{}, {}] expected", suffix, fmt::join(array.shape, ", "), rows, columns);
}

std::shared_ptr<const std::vector<std::uint32_t>> columns_by_group(const SchemeArray& group_of_column,
                                                                   std::string_view suffix,
                                                                   std::uint64_t columns,
                                                                   std::uint64_t groups) {
  if (group_of_column.dtype != DType::I32 || group_of_column.shape != std::vector{columns})
    fail(".{} is {} [{}]; I32 [{}] expected", suffix, dtype_name(group_of_column.dtype),
         fmt::join(group_of_column.shape, ", "), columns);
  const std::uint64_t size = columns / groups;
  std::vector<std::uint64_t> filled(groups);
  std::vector<std::uint32_t> order(columns);
  bool in_order = true;
  for (std::uint64_t k = 0; k < columns; ++k) {
    const auto group = load<std::int32_t>(group_of_column.bytes.data() + k * sizeof(std::int32_t));
    if (group < 0 || static_cast<std::uint64_t>(group) >= groups)
      fail(".{}: column {} is of group {}; there are {}", suffix, k, group, groups);
    const auto g = static_cast<std::uint64_t>(group);
    if (filled[g] == size) fail(".{}: group {} has more than its {} columns", suffix, group, size);
    const std::uint64_t place = g * size + filled[g]++;
    order[place] = static_cast<std::uint32_t>(k);
    in_order &= place == k;
  }
  if (in_order) return nullptr;
  return std::make_shared<const std::vector<std::uint32_t>>(std::move(order));
}

}  // namespace assay
