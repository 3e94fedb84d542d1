#include "assay/storage/huggingface.h"

#include "assay/base/error.h"
#include "assay/storage/huggingface_quantised.h"
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
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->path = directory;
  checkpoint->container = Container::huggingface;
  if (const Json* quantization = foreign_quantization(config)) {
    checkpoint->tensors = quantised_tensors(*quantization, weights.arrays, directory);
    // Said by the tensors from here on; what is written of them is in no such scheme.
    for (Json* level : {&config, config.contains("text_config") ? &config["text_config"] : nullptr})
      if (level != nullptr && level->is_object()) level->erase("quantization_config");
  } else {
    refuse_packed(weights.arrays);
    for (const auto& [name, array] : weights.arrays) checkpoint->tensors.push_back(plain_tensor(name, array));
  }
  checkpoint->config = std::move(config);
  checkpoint->sidecars = std::move(sidecars);
  checkpoint->files = std::move(weights.files);
  return checkpoint;
}

void refuse_foreign_quantization(const Json& config, const std::string& directory) {
  if (const Json* found = foreign_quantization(config))
    fail(
        "{}: config.json: quantised by {}, which Assay does not read from MLX folders; give the unquantised "
        "model",
        directory, found->at("quant_method").dump());
}

}  // namespace assay
