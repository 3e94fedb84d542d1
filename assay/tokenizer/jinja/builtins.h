#pragma once
// The functions that templates find defined: range, namespace, raise_exception, strftime_now.
#include "assay/tokenizer/jinja/library.h"

namespace assay::jinja {

/// `date` ("2024-07-26"): what strftime_now formats; "" refuses it. Throws Error.
Value call_builtin(Function function, const Arguments& arguments, const std::string& date, Context& context);

/// Whether the value is a namespace or holds one.
bool holds_namespace(const Value& value, Context& context);

}  // namespace assay::jinja
