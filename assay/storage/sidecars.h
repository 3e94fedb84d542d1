#pragma once
// The small files beside the weights (config, tokenizer, chat template): read whole, with bounded sizes.
#include <string>

#include "assay/storage/checkpoint.h"

namespace assay {

/// Every known sidecar that the directory holds. A missing one is simply absent; one that is no regular file,
/// a link out of the directory or larger than 100 MB is an Error.
Sidecars read_sidecars(const std::string& directory);

/// Writes them all into an existing directory, replacing what is there. Throws Error.
void write_sidecars(const std::string& directory, const Sidecars& sidecars);

/// The configuration among the sidecars of `directory`, parsed. Throws Error when config.json is missing or
/// is not a JSON object.
Json sidecar_config(const Sidecars& sidecars, const std::string& directory);

}  // namespace assay
