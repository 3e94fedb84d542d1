#pragma once
// The architecture part of a GGUF file's metadata as a Hugging Face config.json.
#include <cstdint>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/storage/gguf_metadata.h"
#include "assay/storage/gguf_names.h"
#include "assay/storage/tensor.h"

namespace assay {

/// That of the file. One that is not in the table, an adapter or one part of a split file is an Error that
/// names it.
const GgufArchitecture& gguf_architecture(GgufMetadata& metadata);

/// config.json of the file: sizes from the metadata, vocabulary, tied head and biases from the tensors. RoPE
/// scaling other than Llama 3's and partial rotary embeddings are Errors, and so are experts where the
/// architecture has none.
Json gguf_config(const GgufFile& file, GgufMetadata& metadata);

/// Of how many heads a tensor is whose rows the files of the architecture keep interleaved
/// (StoredLayout::heads); 0: its rows lie in order. `origin` opens messages. Throws Error when the rows are
/// not so many heads, and for biases that would have to be interleaved too.
std::uint64_t gguf_interleaved_heads(const GgufArchitecture& architecture, std::string_view name,
                                     const Shape& shape, const Json& config, const std::string& origin);

/// The tensor that holds Llama 3's RoPE factors: it becomes part of the config.
inline constexpr std::string_view kGgufRopeFactors = "rope_freqs.weight";

/// Llama 3's frequency scaling with the constants of every released model; only the factor varies.
inline constexpr double kLlama3LowFrequencyFactor = 1, kLlama3HighFrequencyFactor = 4,
                        kLlama3OriginalLength = 8192;
/// What each of the head_dim / 2 frequencies of RoPE is divided by.
std::vector<double> llama3_divisors(double factor, double theta, std::uint64_t head_dim);

}  // namespace assay
