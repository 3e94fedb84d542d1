#pragma once
// The functions that templates find defined: range, namespace, raise_exception, strftime_now.
#include "assay/jinja/library.h"

namespace assay::jinja {

/// `date` ("2024-07-26"): what strftime_now formats; "" refuses it. Throws Error.
Value call_builtin(Function function, const Arguments& arguments, const std::string& date, Context& context);

}  // namespace assay::jinja
