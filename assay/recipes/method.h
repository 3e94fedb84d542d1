#pragma once
// How the codes of a tensor are chosen.
#include <optional>
#include <string_view>

namespace assay {

enum class Method {
  rtn,       // the format's published rule
  search,    // the best scales for the weights (weighted by their inputs where there is calibration text)
  gptq,      // error feedback, which needs calibration text
  copy,      // the stored bytes are kept
  transcode  // the same weights under other bytes
};

std::string_view method_name(Method method);
/// One that a recipe or a user may ask for: rtn, search, gptq. Nothing for any other word.
std::optional<Method> parse_rounding_method(std::string_view name);

}  // namespace assay
