// A directory of packed experts: the manifest, a zero byte, the shard. Run with experts from disk and in
// memory, as it is and without the checksums and hashes that the manifest names.
#include <memory>

#include "assay/base/error.h"
#include "assay/model/roles.h"
#include "assay/runtime/session.h"
#include "assay/storage/assay_directory.h"
#include "fuzz/temporary_directory.h"

namespace {

using namespace assay;

constexpr const char* kConfig =
    R"({"model_type": "qwen3_moe", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 8,
        "max_position_embeddings": 16, "rms_norm_eps": 1e-6, "rope_theta": 500.0, "tie_word_embeddings": true,
        "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32, "norm_topk_prob": true})";

void run(const fuzz::TemporaryDirectory& directory, std::uint64_t expert_cache) {
  try {
    LoadOptions options;
    options.linear = {Residency::packed};
    if (expert_cache > 0) options.experts = std::make_shared<ExpertStore>(ExpertStoreOptions{expert_cache});
    const auto model = Model::load(open_model(directory.path()), options);
    constexpr TokenId kTokens[] = {1, 5};
    compute_logits(*model, kTokens, 1);
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::TemporaryDirectory directory;
  directory.write("config.json", kConfig);
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\0');
  if (end == std::string_view::npos) return 0;
  const std::string_view manifest = input.substr(0, end);
  directory.write(kManifestFile, manifest);
  directory.write(kSafetensorsFile, input.substr(end + 1));
  run(directory, 0);
  run(directory, 8192);
  try {
    Json json = parse_json(manifest, "fuzz");
    if (!json.is_object()) return 0;
    json.erase("files");
    if (const auto tensors = json.find("tensors"); tensors != json.end() && tensors->is_object())
      for (Json& tensor : *tensors)
        if (tensor.is_object()) tensor.erase(kChecksumKey);
    directory.write(kManifestFile, json.dump(-1, ' ', false, Json::error_handler_t::replace));
    run(directory, 0);
    run(directory, 8192);
  } catch (const Error&) {
  }
  return 0;
}
