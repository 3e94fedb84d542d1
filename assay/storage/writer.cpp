#include "assay/storage/writer.h"

#include "assay/base/checked.h"
#include "assay/base/error.h"
#include "assay/base/file.h"
#include "assay/formats/table.h"
#include "assay/storage/containers.h"

namespace assay {
namespace {

/// What keeps a tensor out of every container.
std::optional<std::string> general_misfit(const PlannedTensor& tensor) {
  if (tensor.name.empty() || tensor.name == "__metadata__") return "not a tensor name";
  if (tensor.format == nullptr) return "has no weight format";
  const MatrixShape matrix = as_matrix(tensor.shape);
  if (!checked_product(tensor.shape) || !packed_bytes(*tensor.format, matrix.rows, matrix.columns))
    return fmt::format("shape {} overflows 64 bits", shape_text(tensor.shape));
  // Readers find formats by name: one with state of its own (nvfp4's global scale) would lose it.
  if (find_format(tensor.format->name()) != tensor.format)
    return fmt::format("this {} has parameters of its own that no container keeps", tensor.format->name());
  return tensor.format->misfit(matrix.rows, matrix.columns);
}

}  // namespace

void CheckpointWriter::add_file(const std::string& name, std::string_view content) {
  write_file_atomically((directory_ / name).string(), content);
}

std::optional<std::string> container_misfit(Container container, const PlannedTensor& tensor) {
  if (auto misfit = general_misfit(tensor)) return misfit;
  return container->misfit(tensor);
}

std::unique_ptr<CheckpointWriter> make_writer(Container container, const std::filesystem::path& directory,
                                              WriterInput input) {
  for (const PlannedTensor& tensor : input.tensors)
    if (const auto misfit = container_misfit(container, tensor))
      fail("{}: tensor {}: {}", directory.string(), tensor.name, *misfit);
  return container->write(directory, std::move(input));
}

}  // namespace assay
