#include "assay/recipes/method.h"

#include <array>

namespace assay {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"rtn", "search", "gptq", "copy", "transcode"};

}  // namespace

std::string_view method_name(Method method) {
  return kNames[static_cast<std::size_t>(method)];
}

std::optional<Method> parse_rounding_method(std::string_view name) {
  for (const Method method : {Method::rtn, Method::search, Method::gptq})
    if (name == method_name(method)) return method;
  return std::nullopt;
}

}  // namespace assay
