#include "assay/storage/huggingface.h"

#include "assay/base/error.h"

namespace assay {

CheckpointPtr open_huggingface(const std::string& directory, SafetensorsDirectory weights, Sidecars sidecars,
                               Json config) {
  refuse_foreign_quantization(config, directory);
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = directory;
  checkpoint->container = Container::huggingface;
  checkpoint->config = std::move(config);
  checkpoint->sidecars = std::move(sidecars);
  checkpoint->files = std::move(weights.files);
  for (const auto& [name, array] : weights.arrays) checkpoint->tensors.push_back(plain_tensor(name, array));
  return checkpoint;
}

void refuse_foreign_quantization(const Json& config, const std::string& directory) {
  const auto check = [&](const Json& level) {
    const auto found = level.find("quantization_config");
    if (found == level.end() || !found->is_object() || !found->contains("quant_method")) return;
    fail("{}: config.json: quantised by {}, which Assay does not read; give the unquantised model", directory,
         (*found)["quant_method"].dump());
  };
  check(config);
  const auto text = config.find("text_config");
  if (text != config.end() && text->is_object()) check(*text);
}

}  // namespace assay
