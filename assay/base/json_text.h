#pragma once
// JSON as we write it. Strings may hold any bytes (paths do): what is no UTF-8 becomes U+FFFD, so that
// writing never fails, and characters that a terminal would obey (C1, bidirectional controls) are escaped
// like other controls.
#include <string>

#include "assay/base/json.h"

namespace assay {

/// On one line, or indented by `indent` blanks.
std::string json_text(const Json& json, int indent = -1);
std::string json_text(const OrderedJson& json, int indent = -1);

}  // namespace assay
