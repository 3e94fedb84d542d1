#pragma once
// Statements: from a template's source to its syntax tree.
#include "assay/jinja/context.h"
#include "assay/jinja/syntax.h"

namespace assay::jinja {

/// Throws Error, with the line, for what is malformed or outside the subset.
Block parse_template(const std::string& source, Context& context);

}  // namespace assay::jinja
