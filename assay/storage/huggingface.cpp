#include "assay/storage/huggingface.h"

#include "assay/base/error.h"
#include "assay/storage/safetensors_writer.h"
#include "assay/storage/tensor_planes.h"

namespace assay {
namespace {

bool is_huggingface(ModelPath& path) {
  return path.has_safetensors();
}

CheckpointPtr open_plain(ModelPath& path, const OpenOptions& /*options*/) {
  return open_huggingface(path.path(), path.weights(), path.sidecars(), path.config());
}

std::optional<std::string> huggingface_misfit(const PlannedTensor& tensor) {
  if (is_plain_float(*tensor.format)) return std::nullopt;
  return fmt::format("a plain Hugging Face directory holds f32, f16 and bf16, not {}", tensor.format->name());
}

std::unique_ptr<CheckpointWriter> make_huggingface_writer(const std::filesystem::path& directory,
                                                          WriterInput input) {
  return std::make_unique<SafetensorsWriter>(directory, std::move(input), SafetensorsStyle{});
}

}  // namespace

constinit const ContainerRow kHuggingFaceContainer = {.name = "huggingface",
                                                      .detect = is_huggingface,
                                                      .open = open_plain,
                                                      .misfit = huggingface_misfit,
                                                      .write = make_huggingface_writer,
                                                      .has_manifest = true};

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
