// assay.json, in two directories of fixed weights: one of Assay's own formats, one that is an MLX directory
// as well.
#include "assay/base/error.h"
#include "assay/storage/assay_directory.h"
#include "assay/storage/checkpoint.h"
#include "fuzz/temporary_directory.h"

namespace {

using assay::fuzz::TemporaryDirectory;
using assay::fuzz::zero_safetensors;

const TemporaryDirectory& packed_directory() {
  static const TemporaryDirectory directory;
  static const bool once = [] {
    directory.write("config.json", "{}");
    directory.write(assay::kSafetensorsFile,
                    zero_safetensors(R"({"a.weight":{"dtype":"U8","shape":[2,40],"data_offsets":[0,80]},)"
                                     R"("b.scales":{"dtype":"F16","shape":[3],"data_offsets":[80,86]},)"
                                     R"("b.weight":{"dtype":"U8","shape":[3,6],"data_offsets":[86,104]},)"
                                     R"("norm":{"dtype":"BF16","shape":[8],"data_offsets":[104,120]}})",
                                     120));
    return true;
  }();
  static_cast<void>(once);
  return directory;
}

const TemporaryDirectory& mlx_directory() {
  static const TemporaryDirectory directory;
  static const bool once = [] {
    directory.write("config.json", R"({"quantization":{"group_size":32,"bits":4}})");
    directory.write(assay::kSafetensorsFile,
                    zero_safetensors(R"({"a.weight":{"dtype":"U32","shape":[2,4],"data_offsets":[0,32]},)"
                                     R"("a.scales":{"dtype":"F16","shape":[2,1],"data_offsets":[32,36]},)"
                                     R"("a.biases":{"dtype":"F16","shape":[2,1],"data_offsets":[36,40]},)"
                                     R"("norm":{"dtype":"BF16","shape":[8],"data_offsets":[40,56]}})",
                                     56));
    return true;
  }();
  static_cast<void>(once);
  return directory;
}

void open(const TemporaryDirectory& directory, std::string_view manifest) {
  directory.write(assay::kManifestFile, manifest);
  try {
    const assay::CheckpointPtr opened = assay::open_checkpoint(directory.path());
    for (const assay::Tensor& tensor : opened->tensors) assay::decode_all(tensor);
    assay::verify_files(*opened);
  } catch (const assay::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view manifest(reinterpret_cast<const char*>(data), size);
  open(packed_directory(), manifest);
  open(mlx_directory(), manifest);
  return 0;
}
