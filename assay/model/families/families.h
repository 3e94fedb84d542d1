#pragma once
// The table of model families: what can be run.
#include <span>
#include <string>
#include <string_view>

#include "assay/model/families/family.h"

namespace assay {

std::span<const Family* const> all_families();

/// By a model_type, that of the text model or of a config around it; null when it is not known.
const Family* find_family(std::string_view model_type);

/// The family of a config.json (its text_config where it has one), null when it is not known. Throws Error,
/// which `origin` opens, for a model_type that is no text.
const Family* family_of(const Json& config, const std::string& origin);

}  // namespace assay
