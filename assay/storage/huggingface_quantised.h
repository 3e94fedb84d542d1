#pragma once
// Hugging Face folders whose "quantization_config" names a scheme of another toolkit: what its arrays say
// becomes tensors of a format of the table (formats/stored_scheme.h). The arrays decide; the configuration is
// compared, and what it packs but is stored plain, or the other way round, is an Error.
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/safetensors.h"

namespace assay {

/// The object that names another toolkit's scheme ("quant_method"), at the top level or in "text_config";
/// null when there is none.
const Json* foreign_quantization(const Json& config);

/// The tensors of such a folder, sorted by name. Throws Error for a scheme that is not in the table.
std::vector<Tensor> quantised_tensors(const Json& quantization, const StoredArrays& arrays,
                                      const std::string& directory);

/// Throws Error for an array that only a packed module has: in a folder whose configuration says nothing of
/// packing.
void refuse_packed(const StoredArrays& arrays);

/// "gptq (...), compressed-tensors (...)": what is read, for messages.
std::string known_schemes();

}  // namespace assay
